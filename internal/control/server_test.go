package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestQuestions(t *testing.T) {
	b := &fake{}
	_, c := serve(t, b)
	ctx := context.Background()
	var raw []byte
	st, err := c.Status(ctx, &raw)
	if err != nil || st.Name != "src" || st.Base != "/srv/\xff" || len(st.Members) != 2 {
		t.Fatalf("status %+v, %v", st, err)
	}
	for _, part := range []string{`"base":"/srv/\udcff"`, `"warnings":[]`, `"pushes":[]`, `"started":"2026-03-04T05:06:07Z"`} {
		if !strings.Contains(string(raw), part) {
			t.Errorf("%s is not in %s", part, raw)
		}
	}
	m, err := c.Members(ctx, nil)
	if err != nil || m.Total != 2 || m.Members[0].State != StateMissing {
		t.Errorf("members %+v, %v", m, err)
	}
	if err := c.Forget(ctx, "dst", &raw); err != nil || string(raw) != `{"forgotten":"dst"}`+"\n" {
		t.Errorf("forget: %s, %v", raw, err)
	}
	if !slices.Equal(b.forgot, []string{"dst"}) {
		t.Errorf("forgot %v", b.forgot)
	}
	for name, code := range map[string]string{"src": CodeConflict, "no/body": CodeNotFound} {
		var e *Error
		if err := c.Forget(ctx, name, nil); !errors.As(err, &e) || e.Code != code {
			t.Errorf("forget %s: %v, want %s", name, err, code)
		}
	}
}

func TestErrorAnswers(t *testing.T) {
	_, c := serve(t, &fake{fail: fmt.Errorf("disk <on> fire")})
	for _, x := range []struct {
		method, path, body, origin string
		status                     int
		answer                     string
	}{
		{"GET", "/v1/status", "", "", 500, `{"code":"internal","error":"disk <on> fire"}`},
		{"GET", "/v2", "", "", 404, `{"code":"not_found","error":"there is no /v2 here"}`},
		{"POST", "/v1/members", "", "", 405, `{"code":"method","error":"/v1/members takes GET, not POST"}`},
		{"DELETE", "/v1/pushes/7", "", "", 404, `{"code":"not_found","error":"no push \"7\" was asked for here or it is over"}`},
		{"POST", "/v1/push", `{"paths":["."],"uid":0}`, "", 400,
			`{"code":"bad_request","error":"the request is not a push in JSON: json: unknown field \"uid\""}`},
		{"POST", "/v1/push", `{"paths":["."]}`, "http://evil", 403,
			`{"code":"forbidden","error":"requests of web pages are refused"}`},
	} {
		req, _ := http.NewRequest(x.method, "http://localhost"+x.path, strings.NewReader(x.body))
		if x.origin != "" {
			req.Header.Set("Origin", x.origin)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != x.status || string(body) != x.answer+"\n" {
			t.Errorf("%s %s: %d %s; want %d %s", x.method, x.path, resp.StatusCode, body, x.status, x.answer)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %s", x.method, x.path, got)
		}
	}
}

func collect(c *Client, ctx context.Context, r *PushRequest) ([]Event, error) {
	var all []Event
	err := c.Push(ctx, r, func(l Line) { all = append(all, l.Event) })
	return all, err
}

func kinds(all []Event) string {
	var k []string
	for _, ev := range all {
		k = append(k, ev.Kind())
	}
	return strings.Join(k, " ")
}

func TestPushStream(t *testing.T) {
	var got *PushRequest
	b := &fake{push: func(_ context.Context, req *PushRequest, emit func(Event)) error {
		got = req
		emit(&Start{Push: "p1", Roster: []Peer{{Name: "dst"}}})
		for range 1000 {
			emit(&Path{Action: ActionUpdate, Member: "dst", Path: "a\xff\n"})
		}
		emit(&Decided{Push: "p1"})
		emit(&Summary{Done: 1, Files: 2, Bytes: 3, BytesSent: 123456, Seconds: 1.5})
		emit(&Summary{Done: 99})
		return errors.New("too late to matter")
	}}
	_, c := serve(t, b)
	n := 5
	all, err := collect(c, context.Background(), &PushRequest{Paths: []Text{"x\xfe"}, Recursive: true,
		Rules: []Rule{{Include: true, Pattern: "*.c"}, {Pattern: "\xff*"}}, MaxDelete: &n})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1004 || kinds(all[:3]) != "accepted start path" || kinds(all[1001:]) != "path decided summary" {
		t.Fatalf("%d events: %s", len(all), kinds(all))
	}
	if p := all[500].(*Path); p.Path != "a\xff\n" {
		t.Errorf("path %q", p.Path)
	}
	want := Text("members: 1 done, 0 late, 0 failed, 0 lost, 0 missing; 0 names updated, 0 deleted; 2 files, 3 bytes of content; " +
		"sent 121 KiB, repaired 0 bytes; 1.50 seconds")
	if s := all[1003].(*Summary); s.Text != want {
		t.Errorf("text %q, want %q", s.Text, want)
	}
	if got.UID != os.Getuid() || got.Module != DefaultModule || got.Paths[0] != "x\xfe" || got.Rules[1].Pattern != "\xff*" ||
		!got.Rules[0].Include || *got.MaxDelete != 5 || !got.Recursive || got.WaitSeconds != nil {
		t.Errorf("request %+v", got)
	}
}

func TestPushEndsWithoutSummary(t *testing.T) {
	for _, x := range []struct {
		err  error
		want Failed
	}{
		{nil, Failed{Code: CodeInternal, Message: "the push ended without a summary", Exit: ExitPartial}},
		{errors.New("boom"), Failed{Code: CodeInternal, Message: "boom", Exit: ExitPartial}},
		{fmt.Errorf("scan: %w", context.Canceled), Failed{Code: CodeAborted, Message: "aborted: nothing was changed anywhere", Exit: ExitAborted}},
		{NewError(CodeForbidden, "no"), Failed{Code: CodeForbidden, Message: "no", Exit: ExitUsage}},
		{&Error{Code: CodeUnavailable, Message: "no", Exit: ExitNobody}, Failed{Code: CodeUnavailable, Message: "no", Exit: ExitNobody}},
	} {
		_, c := serve(t, &fake{push: func(context.Context, *PushRequest, func(Event)) error { return x.err }})
		all, err := collect(c, context.Background(), &PushRequest{Paths: []Text{"."}})
		if err != nil || len(all) != 2 {
			t.Fatalf("%v: %d events, %v", x.err, len(all), err)
		}
		if f, ok := all[1].(*Failed); !ok || *f != x.want {
			t.Errorf("%v: %+v, want %+v", x.err, all[1], x.want)
		}
	}
}

func TestCancelByEitherName(t *testing.T) {
	for _, byPush := range []bool{false, true} {
		b := &fake{push: func(ctx context.Context, _ *PushRequest, emit func(Event)) error {
			emit(&Start{Push: "p1"})
			<-ctx.Done()
			emit(&Summary{Exit: ExitAborted})
			return ctx.Err()
		}}
		_, c := serve(t, b)
		var end *Summary
		err := c.Push(context.Background(), &PushRequest{Paths: []Text{"."}}, func(l Line) {
			switch ev := l.Event.(type) {
			case *Accepted:
				if !byPush {
					if err := c.Cancel(context.Background(), ev.Request); err != nil {
						t.Error(err)
					}
				}
			case *Start:
				if byPush {
					if err := c.Cancel(context.Background(), ev.Push); err != nil {
						t.Error(err)
					}
				}
			case *Summary:
				end = ev
			}
		})
		if err != nil || end == nil || end.Exit != ExitAborted || end.Text != "aborted, nothing was changed anywhere" {
			t.Errorf("by push %v: %+v, %v", byPush, end, err)
		}
	}
}

func TestCancelAfterDecision(t *testing.T) {
	heard := make(chan struct{})
	b := &fake{push: func(ctx context.Context, _ *PushRequest, emit func(Event)) error {
		emit(&Start{Push: "p1"})
		emit(&Decided{Push: "p1"})
		<-heard
		<-ctx.Done() // it is not aborted, but nobody waits for it
		emit(&Summary{Done: 1})
		return nil
	}}
	_, c := serve(t, b)
	all, err := func() ([]Event, error) {
		var all []Event
		err := c.Push(context.Background(), &PushRequest{Paths: []Text{"."}}, func(l Line) {
			all = append(all, l.Event)
			if _, ok := l.Event.(*Decided); ok {
				if err := c.Cancel(context.Background(), "p1"); err != nil {
					t.Errorf("cancel: %v", err)
				}
				close(heard)
			}
		})
		return all, err
	}()
	if err != nil || kinds(all) != "accepted start decided summary" {
		t.Errorf("%s, %v", kinds(all), err)
	}
	if err := c.Cancel(context.Background(), "p1"); err == nil {
		t.Error("a push that is over was cancelled")
	}
}

func TestClientDeathCancels(t *testing.T) {
	over := make(chan error, 1)
	b := &fake{push: func(ctx context.Context, _ *PushRequest, emit func(Event)) error {
		emit(&Start{Push: "p1"})
		<-ctx.Done()
		for range 1000 { // nobody reads: this must not block
			emit(&Problem{Severity: SeverityError, Message: Text(strings.Repeat("x", 8192))})
		}
		over <- ctx.Err()
		return ctx.Err()
	}}
	_, c := serve(t, b)
	ctx, cancel := context.WithCancel(context.Background())
	err := c.Push(ctx, &PushRequest{Paths: []Text{"."}}, func(l Line) {
		if _, ok := l.Event.(*Start); ok {
			cancel()
		}
	})
	if !errors.Is(err, ErrCut) {
		t.Errorf("push: %v", err)
	}
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestShutdownCancelsAndReports(t *testing.T) {
	started := make(chan struct{})
	b := &fake{push: func(ctx context.Context, _ *PushRequest, emit func(Event)) error {
		close(started)
		<-ctx.Done()
		return fmt.Errorf("stopping: %w", ctx.Err())
	}}
	s, c := serve(t, b)
	go func() {
		<-started
		s.Shutdown(context.Background())
	}()
	all, err := collect(c, context.Background(), &PushRequest{Paths: []Text{"."}})
	if err != nil || kinds(all) != "accepted failed" || all[1].(*Failed).Exit != ExitAborted {
		t.Errorf("%s, %v", kinds(all), err)
	}
	var ce *ConnectError
	if _, err := c.Status(context.Background(), nil); !errors.As(err, &ce) || !strings.Contains(err.Error(), c.Target()) {
		t.Errorf("after the end: %v", err)
	}
}
