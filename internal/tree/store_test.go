package tree

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"

	"makuo/protocol"
)

// wanting begins a push of one wanted file "f" with the content size, next to
// an old one, and of "g".
func wanting(t *testing.T, size uint64) (tg *Target, dir string) {
	t.Helper()
	dir = tempTree(t)
	plant(t, dir, 1000, "f old", "g old")
	m := openTestModule(t, dir)
	tg, err := m.Begin(protocol.PushID{Start: 5, Origin: 5}, &protocol.PushHeader{Module: "default", Name: "o", Paths: []string{"f", "g"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tg.Close)
	b := &protocol.Batch{}
	for _, name := range []string{"f", "g"} {
		e := protocol.Entry{Path: name, Type: protocol.EntryRegular, Mode: 0o640, Sec: 77, Nsec: 5, Size: size,
			User: protocol.Owner{ID: uint32(os.Geteuid())}, Group: protocol.Owner{ID: uint32(os.Getegid())}}
		b.Entries = append(b.Entries, e)
	}
	data, _, err := tg.Compare(b)
	if err != nil || data[0] != 3 {
		t.Fatalf("%b %v", data, err)
	}
	if err := tg.EndCompare(); err != nil {
		t.Fatal(err)
	}
	return tg, dir
}

func finishPush(t *testing.T, tg *Target) *outcome {
	t.Helper()
	if _, err := tg.Stage(1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o := &outcome{}
	o.collect(t, tg)
	return o
}

func store(t *testing.T, tg *Target, hash uint64, ps ...protocol.Piece) {
	t.Helper()
	if err := tg.Store(ps, hash); err != nil {
		t.Fatal(err)
	}
}

func partsOf(n uint32, attempt uint8, content []byte, size int) (ps []protocol.Piece, end protocol.Piece) {
	var h protocol.FileHash
	for off := 0; off < len(content); off += size {
		data := content[off:min(off+size, len(content))]
		h.Add(uint64(off), xxhash.Sum64(data))
		ps = append(ps, protocol.Piece{Type: protocol.PiecePart, Entry: n, Attempt: attempt, Offset: uint64(off), Data: data})
	}
	return ps, protocol.Piece{Type: protocol.PieceEnd, Entry: n, Attempt: attempt, Size: uint64(len(content)), Hash: h.Sum()}
}

// TestPartsInAnyOrder: the end first, everything twice, from several goroutines.
func TestPartsInAnyOrder(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	tg, dir := wanting(t, uint64(len(content)))
	ps, end := partsOf(0, 0, content, 1000)
	store(t, tg, 0, end)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := len(ps) - 1; i >= 0; i-- {
				if i%2 == g%2 {
					if err := tg.Store(ps[i:i+1], xxhash.Sum64(ps[i].Data)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	store(t, tg, 0, protocol.Piece{Type: protocol.PieceWhole, Entry: 1, Data: content}, protocol.Piece{Type: protocol.PieceWhole, Entry: 99, Data: nil})
	if o := finishPush(t, tg); len(o.problems) > 0 || o.counts.Changed != 2 {
		t.Fatal(o)
	}
	for _, name := range []string{"f", "g"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(b, content) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != 0o640 || st.ModTime().Unix() != 77 {
			t.Errorf("%s: %v %v", name, st, err)
		}
	}
}

// TestPartsKeepNoList: memory does not grow with the number of parts; what is
// kept are those that came before what precedes them.
func TestPartsKeepNoList(t *testing.T) {
	const parts, late = 5000, 17
	content := bytes.Repeat([]byte("0123456789"), parts)
	tg, dir := wanting(t, uint64(len(content)))
	ps, end := partsOf(0, 0, content, 10)
	for i := range ps {
		if i != late {
			store(t, tg, xxhash.Sum64(ps[i].Data), ps[i])
		}
		if i == late-1 && len(tg.parts[0].early) > 0 {
			t.Fatalf("%d parts in order are kept", len(tg.parts[0].early))
		}
	}
	if n := len(tg.parts[0].early); n != parts-late-1 {
		t.Fatalf("%d parts wait for the late one", n)
	}
	store(t, tg, xxhash.Sum64(ps[late].Data), ps[late])
	if n := len(tg.parts[0].early); n > 0 {
		t.Fatalf("%d parts are kept", n)
	}
	store(t, tg, 0, ps[late-1], end) // twice, and the end
	store(t, tg, 0, protocol.Piece{Type: protocol.PieceWhole, Entry: 1, Data: content})
	if o := finishPush(t, tg); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || !bytes.Equal(b, content) {
		t.Error("f differs", err)
	}
}

func TestHoles(t *testing.T) {
	content := make([]byte, 1<<20)
	copy(content[512<<10:], "middle")
	tg, dir := wanting(t, uint64(len(content)))
	var h protocol.FileHash
	h.Add(512<<10, 9)
	store(t, tg, 9, protocol.Piece{Type: protocol.PiecePart, Offset: 512 << 10, Hole: 512 << 10, Data: []byte("middle")})
	store(t, tg, 1, protocol.Piece{Type: protocol.PieceEnd, Size: 1 << 20, Hash: h.Sum()})
	store(t, tg, 1, protocol.Piece{Type: protocol.PieceEnd, Entry: 1, Size: 1 << 20, Hash: new(protocol.FileHash).Sum()})
	if o := finishPush(t, tg); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	b, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || !bytes.Equal(b, content) {
		t.Error("f differs", err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, "g"), &st); err != nil || st.Size != 1<<20 || st.Blocks > 8 {
		t.Errorf("g: size %d, %d blocks, %v", st.Size, st.Blocks, err)
	}
}

// TestAttempts: a void attempt leaves nothing, whatever comes late of it.
func TestAttempts(t *testing.T) {
	bad, good := bytes.Repeat([]byte("bad!"), 1000), bytes.Repeat([]byte("good"), 1000)
	tg, dir := wanting(t, 4000)
	old, oldEnd := partsOf(0, 0, bad, 1500)
	ps, end := partsOf(0, 1, good, 1500)
	store(t, tg, xxhash.Sum64(old[0].Data), old[0])
	store(t, tg, xxhash.Sum64(ps[2].Data), ps[2]) // before the void
	store(t, tg, 0, protocol.Piece{Type: protocol.PieceVoid, Entry: 0})
	store(t, tg, xxhash.Sum64(old[1].Data), old[1])
	store(t, tg, 0, oldEnd, end)
	for i := range 2 {
		store(t, tg, xxhash.Sum64(ps[i].Data), ps[i])
	}
	store(t, tg, xxhash.Sum64(old[2].Data), old[2])
	store(t, tg, 0, protocol.Piece{Type: protocol.PieceFail, Entry: 1})
	o := finishPush(t, tg)
	if len(o.problems) > 0 || o.counts.Changed != 1 {
		t.Fatal(o)
	}
	oldOrNew(t, dir, map[string][2]string{"f": {string(good), string(good)}, "g": {"old", "old"}})
}

// TestLackingIsNamed: a file that the origin can't send is named where there is
// none, and not where an old one stays.
func TestLackingIsNamed(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "new 1", "old 2")
	plant(t, dst, 1000, "old 1")
	p.failing = func(e *protocol.Entry) bool { return e.Type == protocol.EntryRegular }
	o := p.push(t)
	if len(o.problems) != 1 || o.problems[0].Path != "new" || !o.problems[0].Warning {
		t.Errorf("%+v", o.problems)
	}
}

// TestIncomplete: content that is not what the manifest says never replaces the
// old file; it is an error of its path, as the origin gave it up.
func TestIncomplete(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 4000)
	for name, do := range map[string]func(tg *Target){
		"too short": func(tg *Target) { store(t, tg, 0, protocol.Piece{Type: protocol.PieceWhole, Data: content[1:]}) },
		"parts of another size": func(tg *Target) {
			ps, end := partsOf(0, 0, content[1:], 4000)
			store(t, tg, xxhash.Sum64(ps[0].Data), ps[0])
			store(t, tg, 0, end)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tg, dir := wanting(t, 4000)
			do(tg)
			store(t, tg, 0, protocol.Piece{Type: protocol.PieceWhole, Entry: 1, Data: content})
			o := finishPush(t, tg)
			if len(o.errors()) != 1 || !strings.HasPrefix(o.errors()[0], "f: ") || o.counts.Changed != 1 {
				t.Errorf("%+v", o)
			}
			oldOrNew(t, dir, map[string][2]string{"f": {"old", "old"}, "g": {string(content), string(content)}})
			if exists(dir, protocol.StageName) {
				t.Error("the stage is still there")
			}
		})
	}
}

// TestLackingIsNotStaged: with content missing that the origin has not given up
// the member is not staged, so that no mixed tree is ever committed; what came
// is kept for the next push.
func TestLackingIsNotStaged(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 4000)
	for name, do := range map[string]func(tg *Target){
		"nothing": func(tg *Target) {},
		"a part missing": func(tg *Target) {
			ps, end := partsOf(0, 0, content, 1500)
			store(t, tg, xxhash.Sum64(ps[0].Data), ps[0])
			store(t, tg, 0, end)
		},
		"another hash": func(tg *Target) {
			ps, end := partsOf(0, 0, content, 4000)
			store(t, tg, 4, ps[0])
			store(t, tg, 0, end)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tg, dir := wanting(t, 4000)
			do(tg)
			store(t, tg, 0, protocol.Piece{Type: protocol.PieceWhole, Entry: 1, Data: content})
			must(t, tg.EndCompare())
			if _, err := tg.Stage(1); err == nil || !strings.Contains(err.Error(), "content of f") {
				t.Fatalf("staged: %v", err)
			}
			if _, _, err := tg.Commit(); err == nil {
				t.Fatal("committed")
			}
			must(t, tg.Discard(true))
			tg.Close()
			oldOrNew(t, dir, map[string][2]string{"f": {"old", "old"}, "g": {"old", "old"}})
		})
	}
}

func TestManyPartFiles(t *testing.T) {
	p, src, dst := pair(t)
	p.partSize = 100
	var lines []string
	for i := range 3 * maxOpenParts {
		lines = append(lines, strings.Repeat("d", i%3+1)+"/"+stagedName(uint32(i))+" "+strings.Repeat("content", 60))
	}
	plant(t, src, 2000, lines...)
	p.shuffle = newForest(t, 3).r
	if o := p.push(t); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
}

// TestStoreAfterDiscard: a late block is an error and nothing else.
func TestStoreAfterDiscard(t *testing.T) {
	tg, _ := wanting(t, 5)
	must(t, tg.Discard(false))
	if err := tg.Store([]protocol.Piece{{Type: protocol.PieceWhole, Data: []byte("hello")}}, 0); err == nil {
		t.Error("a block was stored in a push that is discarded")
	}
}
