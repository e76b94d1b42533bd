package order

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"makuo/protocol"
)

// Book holds the histories of all modules of a daemon. On disk:
//
//	DIR/MODULE/PLACE   one layer; MODULE is the module's name in hexadecimal
//
// A file that is damaged counts as a push at that place that has decided the
// whole module.
type Book struct {
	dir     string
	write   func(path, content string) error
	mu      sync.Mutex
	modules map[string]*History
}

// Open reads the book in dir. write replaces a file durably, so that a crash
// leaves the old or the new one.
func Open(dir string, write func(path, content string) error) (*Book, error) {
	b := New()
	b.dir, b.write = dir, write
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("order of the pushes: %w", err)
	}
	for _, e := range list {
		var name []byte
		if _, err := fmt.Sscanf(e.Name(), "%x", &name); err != nil || !e.IsDir() {
			continue
		}
		h := b.Module(string(name))
		if err := h.read(); err != nil {
			return nil, fmt.Errorf("order of the pushes: %w", err)
		}
	}
	return b, nil
}

// New returns a book that is not kept on disk.
func New() *Book { return &Book{modules: make(map[string]*History)} }

// Module returns the history of a module.
func (b *Book) Module(name string) *History {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.modules[name]
	if h == nil {
		h = new(History)
		if b.dir != "" {
			h.disk = disk{filepath.Join(b.dir, fmt.Sprintf("%x", name)), b.write, os.Remove}
		}
		b.modules[name] = h
	}
	return h
}

func (h *History) read() error {
	list, err := os.ReadDir(h.disk.dir)
	if err != nil {
		return err
	}
	for _, e := range list { // sorted by name, so by place
		place, err := protocol.ParsePushID(e.Name())
		if err != nil {
			if strings.HasPrefix(e.Name(), ".tmp-") {
				os.Remove(filepath.Join(h.disk.dir, e.Name()))
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(h.disk.dir, e.Name()))
		if err != nil {
			return err
		}
		l, err := parse(b)
		if err != nil || l.Place != place {
			l = &Layer{Place: place, Name: "unknown", Paths: []string{"."}, Whole: true}
		}
		h.layers = append(h.layers, l)
	}
	return nil
}

func (d *disk) put(l *Layer) error {
	if d.dir == "" {
		return nil
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	return d.write(filepath.Join(d.dir, l.Place.String()), string(l.append(nil)))
}

func (d *disk) drop(l *Layer) error {
	if d.dir == "" {
		return nil
	}
	err := d.remove(filepath.Join(d.dir, l.Place.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const magic = "makuo order 1\n"

var table = crc32.MakeTable(crc32.Castagnoli)

// append appends the file of a layer: the magic, a CRC-32C of what follows, 1 if
// the layer has entries, these compressed with their length before them, the
// place, and a push header with name, paths and rules.
func (l *Layer) append(dst []byte) []byte {
	var body []byte
	flag := byte(1)
	if l.Whole {
		flag = 0
	}
	body = append(body, flag)
	body = binary.AppendUvarint(body, uint64(len(l.packed)))
	body = append(body, l.packed...)
	body = l.Place.Append(body)
	h := protocol.PushHeader{Module: protocol.DefaultModule, Name: l.Name, Paths: l.Paths, Rules: l.Rules}
	body = h.Append(body)
	dst = append(dst, magic...)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(body, table))
	return append(dst, body...)
}

var errDamaged = errors.New("damaged")

func parse(b []byte) (*Layer, error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return nil, errDamaged
	}
	sum, b := binary.BigEndian.Uint32(b[len(magic):]), b[len(magic)+4:]
	if crc32.Checksum(b, table) != sum || len(b) < 1 || b[0] > 1 {
		return nil, errDamaged
	}
	l := &Layer{Whole: b[0] == 0}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)) || uint64(len(b)) < 1+uint64(k)+n+16 {
		return nil, errDamaged
	}
	b = b[1+k:]
	l.packed, b = append([]byte(nil), b[:n]...), b[n:]
	l.Place = protocol.PushID{Start: int64(binary.BigEndian.Uint64(b)), Origin: protocol.Session(binary.BigEndian.Uint64(b[8:]))}
	h, err := protocol.ParsePushHeader(b[16:])
	if err != nil {
		return nil, err
	}
	l.Name, l.Paths, l.Rules = h.Name, h.Paths, h.Rules
	return l, nil
}
