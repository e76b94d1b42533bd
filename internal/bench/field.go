//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

// treeName is the name of the tree that is pushed, in each host's base.
const treeName = "tree"

// fieldSpec says what hosts and links there are.
type fieldSpec struct {
	Hosts    int  // that receive, beside the origin
	RateMbit int  // of each link; 0: as fast as the machine is
	Whole    bool // trains cross the switch whole; else they are cut into packets
	bytes    int64
}

// field is a lab with daemons, and the tree at the origin.
type field struct {
	spec    fieldSpec
	shell   *shell
	lab     *lab.Lab
	origin  *lab.Host
	members []*lab.Host
	loss    float64         // percent
	stop    <-chan struct{} // closed when all is to end

	size treeSize
	want trees.Snapshot // the tree at the origin; nil when it has to be read
}

// settle is how long a daemon holds a push back after its start, so that its
// table of members is complete (2 s), and a little more.
const settle = 2500 * time.Millisecond

// newField makes hosts, links and daemons. bytes is the size of the tree that
// is going to be pushed, where it is known: each host has room for three.
func newField(out *shell, spec fieldSpec, stop <-chan struct{}) *field {
	l := lab.New(out, lab.Options{
		Hosts: spec.Hosts + 1, RateMbit: spec.RateMbit, CutTrains: !spec.Whole,
		BaseSize: fmt.Sprintf("%dm", max(2048, 3*spec.bytes>>20+256)),
	})
	f := &field{spec: spec, shell: out, lab: l, origin: l.Host(0), members: l.Hosts()[1:], stop: stop}
	for _, h := range l.Hosts() {
		// A sender hears its own multicast, whole, as if from eth0: left out.
		// TCP's trains are cut as they leave: at the switch every drop is then
		// a single packet, and the counters count each packet's headers.
		h.Exec("ethtool", "-K", "eth0", "tso", "off")
		f.nft(h, "table inet bench {\n chain input {\n type filter hook input priority -10;\n"+
			` iifname "eth0" ip saddr != `+h.Addr+` meta length > 1500 counter`+"\n }\n}\n")
	}
	l.Start()
	time.Sleep(settle)
	return f
}

func (f *field) nft(h *lab.Host, script string) {
	cmd := h.Command("/", "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.shell.Fatalf("counting long packets on %s: %v: %s", h.Name, err, out)
	}
}

// setLoss makes every host lose that share of what arrives, in percent.
func (f *field) setLoss(percent float64) {
	f.loss = percent
	for _, h := range f.lab.Hosts() {
		h.SetLoss(percent)
	}
}

// makeTree makes the tree at the origin anew.
func (f *field) makeTree(spec treeSpec, goroot string) error {
	root := f.origin.Base(treeName)
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := spec.make(root, goroot); err != nil {
		return fmt.Errorf("making the tree %v: %w", spec, err)
	}
	return f.treeChanged()
}

// treeChanged is called after every change of the tree at the origin.
func (f *field) treeChanged() (err error) {
	f.want = nil
	f.size, err = measureTree(f.origin.Base(treeName))
	return err
}

// clear removes the tree from all members.
func (f *field) clear() error {
	for _, h := range f.members {
		if err := os.RemoveAll(h.Base(treeName)); err != nil {
			return fmt.Errorf("clearing %s: %w", h.Name, err)
		}
	}
	return nil
}

// warm has the kernel get the memory that the trees will take at the members
// and give it back: else the first turn pays for memory that was never used
// since the machine started, which in a virtual machine takes more than twice as long.
func (f *field) warm() error {
	zeros := make([]byte, 1<<20)
	for _, h := range f.members {
		path := h.Base("warm")
		defer os.Remove(path)
		w, err := os.Create(path)
		if err != nil {
			return err
		}
		for left := f.size.Bytes; left > 0 && err == nil; left -= int64(len(zeros)) {
			_, err = w.Write(zeros)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("warming %s up: %w", h.Name, err)
		}
	}
	return nil
}

// equality is how the members' trees compare with the origin's.
type equality struct {
	content  []string // differences in names, types, contents, link targets
	metadata []string // differences in modes, owners, times, attributes
}

// compare compares the members' trees with the origin's, entry by entry.
func (f *field) compare() (equality, error) {
	var e equality
	var err error
	if f.want == nil {
		if f.want, err = trees.Read(f.origin.Base(treeName), nil); err != nil {
			return e, err
		}
	}
	for _, h := range f.members {
		got, err := trees.Read(h.Base(treeName), nil)
		if err != nil {
			return e, err
		}
		for _, line := range trees.Diff(f.want, got) {
			if isMetadata(line) {
				e.metadata = append(e.metadata, h.Name+": "+line)
			} else {
				e.content = append(e.content, h.Name+": "+line)
			}
		}
	}
	return e, nil
}

// isMetadata says whether a line of trees.Diff is about metadata alone.
func isMetadata(line string) bool {
	for _, word := range []string{": mode is ", ": owner is ", ": time is ", ": attributes is ", ": first of its hard links is "} {
		if strings.Contains(line, word) {
			return !strings.Contains(line, ": mode is ") || sameType(line)
		}
	}
	return false
}

// sameType says whether the two modes in a line of trees.Diff are of one type:
// everything before the nine permission letters is the same.
func sameType(line string) bool {
	_, modes, _ := strings.Cut(line, ": mode is ")
	is, should, _ := strings.Cut(modes, ", should be ")
	kind := func(mode string) string {
		return strings.Trim(mode[:max(0, len(mode)-9)], "-ugt")
	}
	return kind(is) == kind(should)
}

// counters are what the field's links have carried and dropped so far.
type counters struct {
	traffic   []lab.Traffic // by host
	portDrops uint64        // full buffers of the switch, all ports
	lost      uint64        // packets lost on arrival, all members
	lostBytes uint64
	long      uint64 // packets longer than 1,500 bytes that arrived
}

func (f *field) counters() counters {
	var c counters
	for i, h := range f.lab.Hosts() {
		c.traffic = append(c.traffic, h.Traffic())
		c.portDrops += h.PortDrops()
		long, _ := f.count(h, "bench")
		c.long += long
		if f.loss > 0 && i > 0 { // the origin's own multicast would count there
			packets, bytes := f.count(h, "loss")
			c.lost += packets
			c.lostBytes += bytes
		}
	}
	return c
}

// count reads the only counter in a host's firewall table.
func (f *field) count(h *lab.Host, table string) (packets, bytes uint64) {
	out := h.Exec("nft", "-j", "list", "table", "inet", table)
	var list struct {
		Nftables []struct {
			Rule struct {
				Expr []struct {
					Counter *struct{ Packets, Bytes uint64 }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		f.shell.Fatalf("reading the counter of %s on %s: %v", table, h.Name, err)
	}
	for _, item := range list.Nftables {
		for _, e := range item.Rule.Expr {
			if e.Counter != nil {
				return e.Counter.Packets, e.Counter.Bytes
			}
		}
	}
	f.shell.Fatalf("the table %s on %s has no counter", table, h.Name)
	return 0, 0
}

// wire fills in what a run put on the wire and lost there.
func (f *field) wire(r *result, before, after counters) {
	sent := after.traffic[0].Since(before.traffic[0])
	r.BytesBack = sent.ReceivedBytes
	var most uint64
	for i := range f.members {
		most = max(most, after.traffic[i+1].Since(before.traffic[i+1]).ReceivedBytes)
	}
	// A train counts its headers once where it leaves the origin, each packet of
	// it where it arrives; what leaves for one host only counts at the origin.
	r.BytesOut = max(sent.SentBytes, most)
	r.PortDrops = after.portDrops - before.portDrops
	r.Lost = after.lost - before.lost
	if r.Lost > 0 {
		r.LostMeanBytes = float64(after.lostBytes-before.lostBytes) / float64(r.Lost)
	}
	long := after.long - before.long
	if f.loss > 0 && !f.spec.Whole && (long > 0 || r.LostMeanBytes > 1500) {
		r.fail(fmt.Errorf("loss did not come in single packets: %d packets were longer than 1,500 bytes, those lost had %.0f on average", long, r.LostMeanBytes))
	}
}

// arrived is how many bytes have reached a host's eth0, without starting a
// program, so that it can be asked for often.
func arrived(h *lab.Host) uint64 {
	data, err := os.ReadFile(filepath.Join(filepath.Dir(h.Path()), "net/dev"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(data), "eth0:")
	var n uint64
	fmt.Sscan(after, &n)
	return n
}

// firstData watches a host until it has got more than the talk before a push
// amounts to (a manifest of empty files compresses to a byte an entry), or the
// watch is stopped; the answer comes through the channel.
func firstData(h *lab.Host, stop <-chan struct{}) <-chan time.Duration {
	const talk = 8 << 10
	answer := make(chan time.Duration, 1)
	start, began := arrived(h), time.Now()
	go func() { // ends with stop, or with the data
		defer close(answer)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				if arrived(h) > start+talk {
					answer <- now.Sub(began)
					return
				}
			}
		}
	}()
	return answer
}
