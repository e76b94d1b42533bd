package control

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEventsRoundTrip(t *testing.T) {
	for _, ev := range []Event{
		&Accepted{Request: "r1"},
		&Start{Push: "p", Module: "default", Origin: "o", Roster: []Peer{{"a", "b"}}, Missing: []Peer{}},
		&Waiting{For: "m", Push: "p", Paths: []Text{"a\xff"}},
		&Progress{Stage: StageSend, Entries: 1, Bytes: 2, BytesTotal: 3, Sent: 4, Repaired: 5, RateMbit: 6.5, Percent: -1,
			Members: MemberCounts{1, 2, 3, 4, 5, 6, 7, 8}},
		&Path{Action: ActionSkip, Member: "m", Path: "\x00\xed\xb3\xbf\u2028", DryRun: true},
		&Problem{Severity: SeverityError, Member: "m", Path: "p", Message: "\xfe"},
		&Member{Name: "m", Addr: "a", Outcome: OutcomeLate, LastHeard: fakeTime, Counts: Counts{1, 2, 3, 4, 5}, CommitMS: 1.5},
		&Decided{Push: "p"},
		&Summary{Done: 1, Exit: 2, Reason: "r", Text: "t"},
		&Failed{Code: CodeInternal, Message: "m", Exit: 2},
	} {
		line, err := AppendEvent(nil, ev)
		if err != nil || !strings.HasPrefix(string(line), `{"type":"`+ev.Kind()+`",`) || strings.Count(string(line), "\n") != 1 {
			t.Errorf("%s: %q, %v", ev.Kind(), line, err)
		}
		got, err := ParseEvent(line)
		if err != nil || !reflect.DeepEqual(got, ev) {
			t.Errorf("%s: %+v, want %+v (%v)", ev.Kind(), got, ev, err)
		}
	}
	if ev, err := ParseEvent([]byte(`{"type":"of the future"}`)); ev != nil || err != nil {
		t.Errorf("an unknown type: %v, %v", ev, err)
	}
	if _, err := ParseEvent([]byte("nonsense")); err == nil {
		t.Error("nonsense was taken")
	}
}

func TestRequestIsStrict(t *testing.T) {
	ok := `{"paths":["a","b/c"],"recursive":true,"delete":true,"rules":[{"include":true,"pattern":"x"}],"targets":["m"],"wait_seconds":0}`
	if r, err := DecodePushRequest(strings.NewReader(ok)); err != nil || r.WaitSeconds == nil || r.UID != -1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, bad := range []string{
		``, `[]`, `null`, `{}`, `{"paths":[]}`, `{"paths":["a"]} {}`, `{"paths":["a"],"x":1}`, `{"paths":["a"],"rules":[{"x":1}]}`,
		`{"paths":["/a"]}`, `{"paths":["../a"]}`, `{"paths":["a/"]}`, `{"paths":["a//b"]}`, `{"paths":["./a"]}`, `{"paths":[""]}`,
		`{"paths":["a\u0000"]}`, `{"paths":["` + strings.Repeat("a/", 3000) + `a"]}`, `{"paths":["a"],"delete":true}`,
		`{"paths":["a"],"max_delete":-1}`, `{"paths":["a"],"expect":-1}`, `{"paths":["a"],"expect":10001}`, `{"paths":["a"],"verbose":3}`,
		`{"paths":["a"],"wait_seconds":-1}`, `{"paths":["a"],"timeout_seconds":0.5}`, `{"paths":["a"],"timeout_seconds":1e9}`,
		`{"paths":["a"],"targets":["a b"]}`, `{"paths":["a"],"module":"a/b"}`, `{"paths":["a"],"rules":[{"pattern":""}]}`,
		`{"paths":["a"],"rules":[{"pattern":"\u0000"}]}`, `{"paths":["a"],"UID":0}`, "{\"paths\":[\"\xff\"]}",
		`{"paths":["` + strings.Repeat("a", MaxRequest) + `"]}`, `{"paths":[` + strings.Repeat(`"a",`, MaxPaths) + `"a"]}`,
	} {
		_, err := DecodePushRequest(strings.NewReader(bad))
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeBadRequest || len(e.Message) > 8000 {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 9999: "9999 bytes", 10000: "9.77 KiB", 102400: "100 KiB", 1 << 20: "1.00 MiB",
		1<<20 - 1: "1.00 MiB", 123 << 30: "123 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// FuzzText: every string survives JSON, and its JSON is UTF-8.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\xff", "\xed\xb2\x80", "😀\x80", "\\udcff", "\"\n\u2028\x7f", "\xed\xa0\x80\xed\xb0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(Text(s))
		if err != nil || !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("%q: %q, %v", s, b, err)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || string(back) != s {
			t.Fatalf("%q: %q, %v", s, back, err)
		}
		var std string
		if utf8.ValidString(s) && (json.Unmarshal(b, &std) != nil || std != s) {
			t.Fatalf("%q: encoding/json reads %q", s, std)
		}
	})
}

// FuzzRequest: what is decoded is inside its limits and means the same when it
// is written and read again.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"paths":["."]}`))
	f.Add([]byte(`{"paths":["a","\udcff"],"recursive":true,"delete":true,"max_delete":0,"rules":[{"include":true,"pattern":"*.c"}],"wait_seconds":1.5}`))
	f.Add([]byte(`{"paths":["\ud800\udc00\ud83d\ude00\ud83dx"],"targets":["web1"],"timeout_seconds":30,"verbose":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodePushRequest(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := DecodePushRequest(strings.NewReader(string(again)))
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		b2, _ := json.Marshal(r2)
		if string(b2) != string(again) {
			t.Fatalf("%s\n%s", again, b2)
		}
	})
}

func TestSurrogatesOfOthers(t *testing.T) {
	for in, want := range map[string]Text{
		`"\ud83d\ude00"`: "😀", `"\uDCFF\n\t\r\b\f\/\\\""`: "\xff\n\t\r\b\f/\\\"", `"\ud83d"`: "\uFFFD", `"\ud83d\u0041"`: "\uFFFDA",
		`"\udc00"`: "\uFFFD", `"\u00e9"`: "é",
	} {
		var got Text
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", in, got, want, err)
		}
	}
	var got Text
	if json.Unmarshal([]byte(`7`), &got) == nil || json.Unmarshal([]byte(`["\u0041"]`), &got) == nil {
		t.Error("what is no string was taken")
	}
}
