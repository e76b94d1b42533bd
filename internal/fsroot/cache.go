package fsroot

import (
	"container/list"
	"strings"
	"sync"
)

// cacheSize is how many directories a root holds open for consecutive
// operations on entries of one directory.
const cacheSize = 64

// cache holds the least recently used directories by path. It owns one
// reference to each.
type cache struct {
	mu    sync.Mutex
	size  int
	byKey map[string]*list.Element // of *Dir
	order *list.List               // most recently used first
	gen   uint64                   // counts Invalidate calls
}

func (c *cache) init(size int) {
	c.size, c.byKey, c.order = size, make(map[string]*list.Element), list.New()
}

func (c *cache) get(path string) (*Dir, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[path]
	if e == nil {
		return nil, c.gen
	}
	c.order.MoveToFront(e)
	d := e.Value.(*Dir)
	d.retain()
	return d, c.gen
}

// put keeps d unless something was invalidated since gen: d may have been
// opened before that.
func (c *cache) put(d *Dir, gen uint64) {
	var old *Dir
	c.mu.Lock()
	if c.gen == gen && c.byKey[d.path] == nil {
		d.retain()
		c.byKey[d.path] = c.order.PushFront(d)
		if c.order.Len() > c.size {
			old = c.remove(c.order.Back())
		}
	}
	c.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (c *cache) remove(e *list.Element) *Dir {
	d := c.order.Remove(e).(*Dir)
	delete(c.byKey, d.path)
	return d
}

// Dir returns the directory at path as OpenDir does, from a small cache of
// open directories where it is there. The caller closes it; the cache holds
// its own reference. A cached directory that was renamed or removed by others
// stays in the cache until Invalidate.
func (r *Root) Dir(path string) (*Dir, error) {
	d, gen := r.cache.get(path)
	if d != nil {
		return d, nil
	}
	d, err := r.OpenDir(path)
	if err != nil {
		return nil, err
	}
	r.cache.put(d, gen)
	return d, nil
}

// Invalidate drops the directory prefix and everything below it from the
// cache; "." drops all. Call it after a directory was renamed or removed, and
// before relying on what is there now.
func (r *Root) Invalidate(prefix string) {
	c := &r.cache
	var dropped []*Dir
	c.mu.Lock()
	c.gen++
	for p, e := range c.byKey {
		if prefix == "." || p == prefix || (strings.HasPrefix(p, prefix) && p[len(prefix)] == '/') {
			dropped = append(dropped, c.remove(e))
		}
	}
	c.mu.Unlock()
	for _, d := range dropped {
		d.Close()
	}
}
