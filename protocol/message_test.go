package protocol

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func randomPrefix(r *rand.Rand) Prefix {
	return Prefix{uint8(r.Uint32()), Type(r.Uint32()), uint16(r.Uint32()), r.Uint32(), Session(r.Uint64() | 1)}
}

func TestPrefix(t *testing.T) {
	exact(t, "prefix", Prefix{Version: 1, Type: TypeData, Key: 0x0203, Cluster: 0x04050607, Session: 0x08090a0b0c0d0e0f},
		"4d414b55 01 06 0203 04050607 08090a0b0c0d0e0f")
	refused(t, "prefix", map[string]any{"session is 0": Prefix{Version: 1}, "not a makuo packet": []byte("MAKE67890123456789012")})
	if ClusterID("") == ClusterID("a") {
		t.Error("two cluster names with one id")
	}
	names := make(map[string]bool)
	for ty := TypeBeacon; ty <= TypeForget; ty++ {
		names[ty.String()] = true
	}
	if len(names) != 13 || names["unknown"] || Type(0).String() != "unknown" || Type(14).String() != "unknown" {
		t.Errorf("names of types %v", names)
	}
}

func TestCheck(t *testing.T) {
	p := AppendCheck(append(Prefix{Session: 1}.Append(nil), "body"...))
	if b, err := OpenCheck(p); err != nil || len(b) != PrefixLen+4 {
		t.Fatal(len(b), err)
	}
	for i := range p {
		q := bytes.Clone(p)
		q[i] ^= 1 << (i % 8)
		if _, err := OpenCheck(q); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
		if _, err := OpenCheck(p[:i]); err == nil {
			t.Errorf("%d bytes pass", i)
		}
	}
}

func randomBeacon(r *rand.Rand) Beacon {
	low := uint8(r.IntN(256))
	return Beacon{word(r, 1, MaxName), uint16(1 + r.IntN(65535)), low, low + uint8(r.IntN(256-int(low))), uint8(r.Uint32()),
		time.Duration(r.IntN(65536)) * ms, r.Uint32(), r.Uint64()}
}

func TestBeacon(t *testing.T) {
	b := Beacon{Name: "web1", Port: 5001, MinVersion: 1, MaxVersion: 2, Flags: FlagSolicit, Interval: 1500 * ms, Started: 0x01020304, Digest: 0x1112131415161718}
	exact(t, "beacon", b, "04 77656231 1389 01 02 04 05dc 01020304 1112131415161718")
	refused(t, "beacon", map[string]any{
		"over the limit of 64":  Beacon{Name: strings.Repeat("n", MaxName+1), Port: 1},
		`name ""`:               Beacon{Port: 1},
		`name "a b"`:            Beacon{Name: "a b", Port: 1},
		`name "a:b"`:            Beacon{Name: "a:b", Port: 1},
		`name "a/b"`:            Beacon{Name: "a/b", Port: 1},
		`name "a@b"`:            Beacon{Name: "a@b", Port: 1},
		`name "\x1b[2J"`:        Beacon{Name: "\x1b[2J", Port: 1},
		`name "ä"`:              Beacon{Name: "ä", Port: 1},
		"port is 0":             Beacon{Name: "a"},
		"versions 3 to 2":       Beacon{Name: "a", Port: 1, MinVersion: 3, MaxVersion: 2},
		"1 bytes left over":     append(b.Append(nil), 0),
		"digest: 8 bytes wante": b.Append(nil)[:20],
	})
	if got := b; true {
		got.Interval = time.Hour
		if p, err := ParseBeacon(got.Append(nil)); err != nil || p.Interval != 65535*ms {
			t.Errorf("an interval of an hour is sent as %v, %v", p.Interval, err)
		}
	}
}

// What other versions' beacons begin with is read whatever follows.
func TestForeignBeacon(t *testing.T) {
	r := rng(t)
	for range 100 {
		b := randomBeacon(r)
		head := b.Append(nil)[:1+len(b.Name)+4]
		want := Beacon{Name: b.Name, Port: b.Port, MinVersion: b.MinVersion, MaxVersion: b.MaxVersion}
		for _, body := range [][]byte{head, b.Append(nil), append(head[:len(head):len(head)], octets(r, 0, 500)...)} {
			if got, err := ParseForeignBeacon(body); err != nil || got != want {
				t.Fatalf("got %+v, %v, want %+v", got, err, want)
			}
		}
		for n := range len(head) {
			if _, err := ParseForeignBeacon(head[:n]); err == nil {
				t.Fatalf("%d bytes of %d pass", n, len(head))
			}
		}
	}
}

func randomDetail(r *rand.Rand) Detail {
	d := Detail{Digest: r.Uint64(), Version: text(r, 0, MaxName), Base: text(r, 0, MaxDetail)}
	for range size(r, 0, MaxModules) {
		d.Modules = append(d.Modules, ModuleDetail{text(r, 0, MaxName), randomID(r), int64(r.Uint64())})
	}
	return d
}

func TestDetail(t *testing.T) {
	id := PushID{Start: 0x0102030405060708, Origin: 0x1112131415161718}
	exact(t, "detail", Detail{Digest: 9, Version: "1.0", Base: "/www", Modules: []ModuleDetail{{"default", id, 0x2122232425262728}}},
		`0000000000000009 03 312e30 04 2f777777 01 07 64656661756c74
		0102030405060708 1112131415161718 2122232425262728`)
	full := Detail{Version: strings.Repeat("v", MaxName), Base: strings.Repeat("b", MaxDetail), Modules: make([]ModuleDetail, MaxModules)}
	accepted(t, "detail", full)
	refused(t, "detail", map[string]any{
		"version: 65":                         Detail{Version: strings.Repeat("v", MaxName+1)},
		"base: 901":                           Detail{Base: strings.Repeat("b", MaxDetail+1)},
		"modules: 17 is over":                 Detail{Modules: make([]ModuleDetail, MaxModules+1)},
		"module: 65":                          Detail{Modules: []ModuleDetail{{Name: strings.Repeat("m", MaxName+1)}}},
		"modules: 3 items announced in 0 byt": append(make([]byte, 10), 3),
	})
}

func randomState(r *rand.Rand) State {
	s := State{Stream: r.Uint32(), Push: randomID(r), Phase: PhaseLock + Phase(r.IntN(7)), Attempt: uint8(r.Uint32()), Seq: r.Uint32(),
		Time: r.Uint64(), RTT: time.Duration(r.Uint32()) * us, Every: time.Duration(r.IntN(65536)) * ms, Silence: time.Duration(r.Uint32()) * ms,
		Packets: r.Uint32(), Blocks: r.Uint32(), Batches: r.Uint32(), Digest: r.Uint64(), First: uint16(r.Uint32())}
	for range size(r, 0, MaxHeard) {
		s.Heard = append(s.Heard, r.Uint32())
	}
	return s
}

func TestState(t *testing.T) {
	s := State{Stream: 1, Push: PushID{2, 3}, Phase: PhaseFlush, Attempt: 5, Seq: 6, Time: 7, RTT: 8 * us, Every: 9 * ms, Silence: 10 * ms,
		Packets: 11, Blocks: 12, Batches: 13, Digest: 14, First: 15, Heard: []uint32{16, 17}}
	exact(t, "state", s, `00000001 0000000000000002 0000000000000003 04 05 00000006 0000000000000007 00000008 0009 0000000a
		0000000b 0000000c 0000000d 000000000000000e 000f 00000010 00000011`)
	short := s
	short.Heard = nil
	if n := len(short.Append(nil)); n != stateFixed {
		t.Errorf("fixed part of %d bytes, not %d", n, stateFixed)
	}
	for n := range stateFixed {
		codecOf("state").check(t, s.Append(nil)[:n], false)
	}
	full := s
	full.Heard = make([]uint32, MaxHeard)
	accepted(t, "state", short, full)
	over, none, high := s, s, s
	over.Heard = make([]uint32, MaxHeard+1)
	none.Phase, high.Phase = 0, PhaseAbort+1
	refused(t, "state", map[string]any{"heard list of 1204": over, "phase 0": none, "phase 8": high, "heard list of 7": s.Append(nil)[:stateFixed+7]})
	long := s
	long.RTT, long.Every, long.Silence = 1000*time.Hour, time.Hour, 10000*time.Hour
	if got, err := ParseState(long.Append(nil)); err != nil || got.RTT != 4294967295*us || got.Every != 65535*ms || got.Silence != 4294967295*ms {
		t.Errorf("long times are sent as %v, %v, %v, %v", got.RTT, got.Every, got.Silence, err)
	}
	if PhaseAbort.String() != "abort" || Phase(0).String() != "unknown" || Phase(9).String() != "unknown" {
		t.Error("wrong names of phases")
	}
}

func TestPushID(t *testing.T) {
	id := PushID{Start: 0x17979cfe362a0000, Origin: 0xfedcba9876543210}
	if s := id.String(); s != "17979cfe362a0000fedcba9876543210" {
		t.Error(s)
	}
	if got, err := ParsePushID(id.String()); err != nil || got != id || id.IsZero() || !(PushID{}).IsZero() {
		t.Error(got, err)
	}
	for _, s := range []string{"", "17979cfe362a0000fedcba987654321", "17979cfe362a0000fedcba98765432100", "17979CFE362A0000FEDCBA9876543210",
		"+7979cfe362a0000fedcba9876543210", "17979cfe362a0000 edcba9876543210", "0x979cfe362a0000fedcba9876543210"} {
		if _, err := ParsePushID(s); err == nil {
			t.Errorf("%q passes", s)
		}
	}
	if !(PushID{1, 9}).Less(PushID{2, 1}) || !(PushID{1, 1}).Less(PushID{1, 2}) || id.Less(id) || (PushID{2, 1}).Less(PushID{1, 9}) {
		t.Error("wrong order")
	}
}

func randomData(r *rand.Rand) Data {
	d := Data{Stream: r.Uint32(), Seq: r.Uint32(), Block: r.Uint32() | 1, Index: uint8(r.IntN(255)), Kind: BlockManifest + BlockKind(r.IntN(2)),
		First: r.Uint32(), Count: r.Uint32() >> 8, Symbol: octets(r, 1, SymbolSize(DefaultPayload))}
	if chance(r, 10) {
		d.Block, d.Kind = 0, BlockHeader
	}
	if chance(r, 2) {
		d.Kind |= BlockZstd
	}
	d.Length = uint32(len(d.Symbol) + r.IntN(MaxBlock-len(d.Symbol)+1))
	return d
}

func TestData(t *testing.T) {
	d := Data{Stream: 1, Seq: 2, Block: 3, Index: 4, Kind: BlockData | BlockZstd, Length: 0x010203, First: 5, Count: 0x060708, Symbol: []byte("xyz")}
	exact(t, "data", d, "00000001 00000002 00000003 04 83 010203 00000005 060708 78797a")
	if n := len(d.Append(nil)) - 3; n != dataFixed || DataOverhead != n+PrefixLen+CheckLen || SymbolSize(DefaultPayload) != 1472-48 {
		t.Errorf("fixed part of %d bytes", n)
	}
	mod := func(f func(*Data)) Data { e := d; f(&e); return e }
	accepted(t, "data", mod(func(d *Data) { d.Length = MaxBlock }), mod(func(d *Data) { d.Block, d.Kind = 0, BlockHeader }))
	refused(t, "data", map[string]any{
		"block of 163841 bytes":                mod(func(d *Data) { d.Length = MaxBlock + 1 }),
		"block of 0 bytes":                     mod(func(d *Data) { d.Length = 0 }),
		"symbol of 3 bytes in a block of 2":    mod(func(d *Data) { d.Length = 2 }),
		"symbol of 0 bytes in a block of 6605": mod(func(d *Data) { d.Symbol = nil }),
		"symbol 255":                           mod(func(d *Data) { d.Index = 255 }),
		"block kind 4":                         mod(func(d *Data) { d.Kind = 4 }),
		"block kind 128":                       mod(func(d *Data) { d.Kind = BlockZstd }),
		"block 0 is of kind 131":               mod(func(d *Data) { d.Block = 0 }),
		"block 3 is of kind 1":                 mod(func(d *Data) { d.Kind = BlockHeader }),
	})
}

func randomFeedback(r *rand.Rand) Feedback {
	f := Feedback{Session(r.Uint64()), r.Uint32(), uint8(r.Uint32()), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint64(), r.Uint64(), time.Duration(r.Uint32()) * us, r.Uint32(), nil}
	for i := range size(r, 0, MaxNaks) {
		n := Nak{Block: uint32(i*1000 + r.IntN(1000)), All: chance(r, 3)}
		if !n.All {
			n.Missing = octets(r, 1, MaxSymbols/8)
			n.Missing[len(n.Missing)-1] |= 1
			n.Need = 1
		}
		f.Naks = append(f.Naks, n)
	}
	return f
}

func TestFeedback(t *testing.T) {
	f := Feedback{12, 1, FlagFull, 2, 3, 4, 5, 6, 7, 8, 9 * us, 11, []Nak{{Block: 9, All: true}, {Block: 10, Need: 2, Missing: []byte{0, 0x81}}}}
	exact(t, "feedback", f, `000000000000000c 00000001 01 00000002 00000003 00000004 00000005 00000006 0000000000000007 0000000000000008 00000009 0000000b
		00000009 ff 0000000a 02 02 0081`)
	bare := f
	bare.Naks = nil
	if n := len(bare.Append(nil)); n != FeedbackFixed || len(f.Append(nil)) != n+f.Naks[0].NakLen()+f.Naks[1].NakLen() {
		t.Errorf("fixed part of %d bytes", n)
	}
	mod := func(naks ...Nak) Feedback { e := f; e.Naks = naks; return e }
	many := make([]Nak, MaxNaks+1)
	for i := range many {
		many[i] = Nak{Block: uint32(i), All: true}
	}
	accepted(t, "feedback", bare, mod(many[:MaxNaks]...), mod(Nak{Need: 16, Missing: bytes.Repeat([]byte{1}, MaxSymbols/8)}))
	refused(t, "feedback", map[string]any{
		"more than 200 naks":       mod(many...),
		"block 9 is out of order":  mod(many[9], many[9]),
		"block 8 is out of order":  mod(many[9], many[8]),
		"nak of 17 bytes":          mod(Nak{Missing: bytes.Repeat([]byte{1}, MaxSymbols/8+1)}),
		"nak of 0 bytes":           mod(Nak{}),
		"nak ends in a zero byte":  mod(Nak{Need: 1, Missing: []byte{1, 0}}),
		"nak needs 0 of 1 symbols": mod(Nak{Missing: []byte{1}}),
		"nak needs 4 of 3 symbols": mod(Nak{Need: 4, Missing: []byte{1, 3}}),
		"nak bits: 2 bytes wanted": f.Append(nil)[:FeedbackFixed+12],
	})
}

func randomReport(r *rand.Rand) Report {
	m := Report{Origin: Session(r.Uint64()), Stream: r.Uint32(), First: r.Uint32()}
	for range size(r, 0, MaxRecords) {
		m.Records = append(m.Records, randomRecord(r))
	}
	return m
}

func randomRecord(r *rand.Rand) Record {
	m := Record{Type: RecordLocked + RecordType(r.IntN(8))}
	counts := func() Counts {
		const top = 1 << 62
		return Counts{number(r, top), number(r, top), number(r, top), number(r, top), number(r, top)}
	}
	bits := func() []byte {
		if chance(r, 3) {
			return nil
		}
		b := octets(r, 1, MaxBatch/8)
		b[len(b)-1] |= 1
		return b
	}
	switch m.Type {
	case RecordLocked, RecordYielded:
		m.Attempt = uint8(r.Uint32())
	case RecordBusy:
		m.Attempt, m.Holder, m.Name = uint8(r.Uint32()), randomID(r), text(r, 0, MaxName)
	case RecordRefused, RecordFailed:
		m.Text = text(r, 0, MaxText)
	case RecordWant:
		m.Batch, m.Data, m.Change = r.Uint32(), bits(), bits()
	case RecordStaged:
		m.Digest, m.Counts = r.Uint64(), counts()
	case RecordDone:
		m.Counts, m.Took = counts(), time.Duration(r.Uint32())*us
	}
	return m
}

func TestReport(t *testing.T) {
	c := Counts{1, 2, 3, 4, 300}
	exact(t, "report", Report{Origin: 12, Stream: 1, First: 2, Records: []Record{
		{Type: RecordLocked, Attempt: 3}, {Type: RecordBusy, Attempt: 4, Holder: PushID{5, 6}, Name: "w"},
		{Type: RecordRefused, Text: "no"}, {Type: RecordWant, Batch: 200, Data: []byte{1}, Change: []byte{0, 2}},
		{Type: RecordStaged, Digest: 7, Counts: c}, {Type: RecordFailed, Text: "disk"},
		{Type: RecordDone, Counts: c, Took: 8 * us}, {Type: RecordYielded, Attempt: 9}}},
		`000000000000000c 00000001 00000002
		01 03
		02 04 0000000000000005 0000000000000006 01 77
		03 02 6e6f
		04 c801 01 01 02 0002
		05 0000000000000007 01 02 03 04 ac02
		06 04 6469736b
		07 01 02 03 04 ac02 00000008
		08 09`)
	one := func(r Record) Report { return Report{Records: []Record{r}} }
	raw := func(digits string) []byte { return append(make([]byte, ReportFixed), unhex(t, digits)...) }
	if n := len((&Report{}).Append(nil)); n != ReportFixed {
		t.Errorf("fixed part of %d bytes", n)
	}
	accepted(t, "report", Report{Records: bytesOfLocked(MaxRecords)}, one(Record{Type: RecordFailed, Text: strings.Repeat("t", MaxText)}),
		one(Record{Type: RecordWant, Data: bytes.Repeat([]byte{1}, MaxBatch/8), Change: bytes.Repeat([]byte{1}, MaxBatch/8)}))
	refused(t, "report", map[string]any{
		"more than 300 records":                Report{Records: bytesOfLocked(MaxRecords + 1)},
		"record type 0":                        raw("00"),
		"record type 9":                        raw("09"),
		"text: 513":                            one(Record{Type: RecordRefused, Text: strings.Repeat("t", MaxText+1)}),
		"holder: 65":                           one(Record{Type: RecordBusy, Name: strings.Repeat("t", MaxName+1)}),
		"data bits: 129":                       one(Record{Type: RecordWant, Data: bytes.Repeat([]byte{1}, MaxBatch/8+1)}),
		"change bits: 129":                     one(Record{Type: RecordWant, Change: bytes.Repeat([]byte{1}, MaxBatch/8+1)}),
		"data bits: ends in":                   raw("04 00 02 0100 00"),
		"change bits: ends in":                 raw("04 00 00 01 00"),
		"deleted: 4611686018427387905 is over": one(Record{Type: RecordDone, Counts: Counts{Deleted: 1<<62 + 1}}),
	})
	// Trailing zero bytes of a set are not sent.
	got, err := ParseReport((&Report{Records: []Record{{Type: RecordWant, Data: []byte{1, 0, 0}, Change: make([]byte, 50)}}}).Append(nil))
	if err != nil || !bytes.Equal(got.Records[0].Data, []byte{1}) || got.Records[0].Change != nil {
		t.Error(got, err)
	}
}

func bytesOfLocked(n int) []Record {
	rs := make([]Record, n)
	for i := range rs {
		rs[i].Type = RecordLocked
	}
	return rs
}

func randomFetch(r *rand.Rand) Fetch {
	return Fetch{r.Uint32(), PageProblems + PageKind(r.IntN(2)), r.Uint64(), uint8(1 + r.IntN(32))}
}

func randomPage(r *rand.Rand) Page {
	p := Page{Origin: Session(r.Uint64()), Stream: r.Uint32(), Kind: PageProblems + PageKind(r.IntN(2)), Bytes: octets(r, 1, MaxPage)}
	p.Offset = number(r, 1<<63)
	p.Total = p.Offset + uint64(len(p.Bytes)) + number(r, 1<<62)
	if chance(r, 10) {
		p.Bytes, p.Total = []byte{}, p.Offset
	}
	return p
}

func TestFetchAndPage(t *testing.T) {
	exact(t, "fetch", Fetch{1, PageDeletes, 2, 3}, "00000001 02 0000000000000002 03")
	refused(t, "fetch", map[string]any{"page kind 0": Fetch{Count: 1}, "page kind 3": Fetch{Kind: 3, Count: 1}, "0 pages": Fetch{Kind: 1}, "33 pages": Fetch{Kind: 1, Count: 33}})
	p := Page{12, 1, PageProblems, 2, 9, []byte("abc")}
	exact(t, "page", p, "000000000000000c 00000001 01 0000000000000002 0000000000000009 616263")
	const top = 1<<64 - 1
	accepted(t, "page", Page{12, 1, 1, 0, MaxPage, make([]byte, MaxPage)}, Page{12, 1, 1, 7, 7, []byte{}}, Page{12, 1, 1, top - 1, top, []byte{1}})
	refused(t, "page", map[string]any{
		"page kind 0":           Page{Bytes: []byte{1}, Total: 1},
		"page kind 3":           Page{Kind: 3, Bytes: []byte{1}, Total: 1},
		"1201 bytes at 0":       Page{Kind: 1, Total: 5000, Bytes: make([]byte, MaxPage+1)},
		"3 bytes at 2 of 4":     Page{Kind: 1, Offset: 2, Total: 4, Bytes: []byte("abc")},
		"0 bytes at 2 of 4":     Page{Kind: 1, Offset: 2, Total: 4},
		"1 bytes at 5 of 4":     Page{Kind: 1, Offset: 5, Total: 4, Bytes: []byte{1}},
		"2 bytes at 1844674407": Page{Kind: 1, Offset: top, Total: 0, Bytes: []byte("ab")},
		"5 bytes at 1844674407": Page{Kind: 1, Offset: top - 1, Total: top, Bytes: []byte("abcde")},
	})
}

func TestQueryAndAnswer(t *testing.T) {
	exact(t, "query", Query{PushID{1, 2}, PushID{3, 4}, "m"}, "0000000000000001 0000000000000002 0000000000000003 0000000000000004 01 6d")
	refused(t, "query", map[string]any{"module \"\"": Query{}})
	newer := []NewerPush{{PushID{3, 4}, "h", []string{"a", "b"}}}
	exact(t, "answer", Answer{PushID{1, 2}, OutcomeRunning, true, newer},
		"0000000000000001 0000000000000002 04 01 01 0000000000000003 0000000000000004 01 68 02 01 61 01 62")
	raw := (&Answer{PushID{1, 2}, OutcomeRunning, true, nil}).Append(nil)
	raw[17] = 2
	refused(t, "answer", map[string]any{"outcome 0": Answer{}, "outcome 5": Answer{Outcome: 5}, "origin 2": raw,
		"17 newer pushes":            Answer{Outcome: 1, Newer: make([]NewerPush, MaxNewer+1)},
		"newer push of \"h\" with 0": Answer{Outcome: 1, Newer: []NewerPush{{Name: "h"}}},
		"newer push of \"\" with 1":  Answer{Outcome: 1, Newer: []NewerPush{{Paths: []string{"a"}}}},
		"path \"a\"":                 Answer{Outcome: 1, Newer: []NewerPush{{Name: "h", Paths: []string{"b", "a"}}}},
	})
}

func TestProblem(t *testing.T) {
	exact(t, "problem", Problem{true, "a/b", "why"}, "01 03 612f62 03 776879")
	exact(t, "deleted path", DeletedPath{"a/b"}, "03 612f62")
	one := (&Problem{false, "p", "t"}).Append(nil)
	for n := range len(one) {
		if _, rest, ok, err := ParseProblem(one[:n]); ok || err != nil || len(rest) != n {
			t.Errorf("%d bytes of a record: %v, %v, %d left", n, ok, err, len(rest))
		}
	}
	m, rest, ok, err := ParseProblem(append(one, one...))
	if !ok || err != nil || m != (Problem{false, "p", "t"}) || !bytes.Equal(rest, one) {
		t.Error(m, rest, ok, err)
	}
	// What no further bytes can mend is an error, not a reason to wait for more.
	for _, b := range [][]byte{{2, 0, 0}, {2}, binary.AppendUvarint([]byte{0}, MaxPath+1), append([]byte{0, 0}, binary.AppendUvarint(nil, MaxText+1)...), {0, 0x80, 0}} {
		if _, _, ok, err := ParseProblem(b); ok || err == nil {
			t.Errorf("%x: %v, %v", b, ok, err)
		}
	}
	if _, _, ok := ParseDeletedPath(binary.AppendUvarint(nil, MaxPath+1)); ok {
		t.Error("path over the limit passes")
	}
}
