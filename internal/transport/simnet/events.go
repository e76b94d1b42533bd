package simnet

// kind tells what an event does.
type kind uint32

const (
	evCall   kind = iota // ref: index of the function
	evTimer              // ref: host whose timer is to be looked at
	evSwitch             // ref: packet that reaches the switch
	evHead               // ref: host whose downlink queue's head is due
	evLate               // ref: packet, host: receiver; outside the queue's order
)

// event is kept small and free of pointers: millions pass through the heap.
type event struct {
	at   int64 // nanoseconds since the start
	seq  uint64
	kind kind
	ref  int32
	host int32
}

func (e *event) before(o *event) bool {
	return e.at < o.at || e.at == o.at && e.seq < o.seq
}

// eventHeap is a heap with four children a node, ordered by time and then by
// the order of pushing.
type eventHeap struct {
	events []event
	seq    uint64
}

func (h *eventHeap) push(e event) {
	h.seq++
	e.seq = h.seq
	h.events = append(h.events, e)
	i := len(h.events) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&h.events[parent]) {
			break
		}
		h.events[i] = h.events[parent]
		i = parent
	}
	h.events[i] = e
}

func (h *eventHeap) pop() event {
	first := h.events[0]
	n := len(h.events) - 1
	last := h.events[n]
	h.events = h.events[:n]
	if n > 0 {
		h.down(last)
	}
	return first
}

// down puts e where it belongs, starting at the empty root.
func (h *eventHeap) down(e event) {
	events := h.events
	i := 0
	for {
		child := 4*i + 1
		if child >= len(events) {
			break
		}
		best := child
		for c := child + 1; c < min(child+4, len(events)); c++ {
			if events[c].before(&events[best]) {
				best = c
			}
		}
		if !events[best].before(&e) {
			break
		}
		events[i] = events[best]
		i = best
	}
	events[i] = e
}

// due is a packet in a downlink queue.
type due struct {
	at  int64
	pkt int32
}

// fifo is a growing ring.
type fifo struct {
	slots []due // length is a power of two
	head  int
	n     int
}

func (f *fifo) push(d due) {
	if f.n == len(f.slots) {
		f.grow()
	}
	f.slots[(f.head+f.n)&(len(f.slots)-1)] = d
	f.n++
}

func (f *fifo) grow() {
	slots := make([]due, max(8, 2*len(f.slots)))
	for i := range f.n {
		slots[i] = f.slots[(f.head+i)&(len(f.slots)-1)]
	}
	f.slots, f.head = slots, 0
}

func (f *fifo) first() *due { return &f.slots[f.head] }

func (f *fifo) pop() due {
	d := f.slots[f.head]
	f.head = (f.head + 1) & (len(f.slots) - 1)
	f.n--
	return d
}
