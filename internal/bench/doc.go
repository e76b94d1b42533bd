// Command bench measures how fast pushes are beside other programs that do the
// same work, on the same hosts in the same run. scripts/bench starts it;
// docs/performance.md says how it measures and how to read what it prints.
//
//	main, options   what is asked for
//	scenario        one comparison: hosts, link, loss, tree, contenders in turns
//	targets         the scenarios that the promises of speed are judged by
//	field           a lab with daemons and a tree, and its counters
//	contender*      one way of bringing a tree to all hosts
//	bare*           the floors: the same system calls with nothing around them
//	process, load   running programs, their processor time and memory
//	result, report  what came out, as a table and as JSON
package main
