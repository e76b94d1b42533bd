// Package trees makes directory trees for tests and compares them with all
// their metadata. It is independent of makuo's own code, so that it can judge it.
package trees
