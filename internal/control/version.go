package control

// Version is the version of the programs, set when a release is linked.
var Version = "0.1.0"
