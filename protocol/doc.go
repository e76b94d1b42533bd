// Package protocol owns the bytes of every message that makuo puts on the
// wire: the fixed prefix, each message's struct, append, parse and limits, and
// the contents of blocks (push header, manifest batches, data records).
//
// Every parser is whole-or-nothing: it checks lengths and limits before it
// allocates, refuses instead of repairing, and refuses bytes left over. All
// integers are big endian; "varint" is the unsigned LEB128 of encoding/binary.
// Parsed strings and slices that are documented as aliases share the input's
// memory; all others are copies.
//
// The package knows nothing of sockets, files or clocks and imports only the
// standard library and xxhash.
package protocol
