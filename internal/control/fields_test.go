package control

import (
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fields returns the JSON names of a struct's fields.
func fields(v any) (names []string) {
	t := reflect.TypeOf(v)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	return names
}

var (
	codeWord   = regexp.MustCompile("`([^`]*)`")
	plainWord  = regexp.MustCompile(`^[a-z_0-9]+$`)
	tableRow   = regexp.MustCompile(`(?m)^\| ([^|]+) \| (.*) \|$`)
	requestRow = regexp.MustCompile("^`")
)

// quoted returns what stands in backquotes in a text and looks like a field.
func quoted(text string) (names []string) {
	for _, w := range codeWord.FindAllStringSubmatch(text, -1) {
		if plainWord.MatchString(w[1]) {
			names = append(names, w[1])
		}
	}
	return names
}

// TestDocumentedFields: docs/api.md names every field of the API's objects, and
// no other as one.
func TestDocumentedFields(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	var request []string
	_, push, _ := strings.Cut(string(doc), "The request is one JSON object")
	push, _, _ = strings.Cut(push, "What is wrong with the request")
	for _, r := range tableRow.FindAllStringSubmatch(push, -1) {
		if requestRow.MatchString(r[1]) {
			request = append(request, quoted(r[1])...)
		}
	}
	for _, r := range tableRow.FindAllStringSubmatch(strings.Replace(string(doc), push, "", 1), -1) {
		rows[strings.Trim(r[1], "`")] = r[2]
	}
	want := fields(PushRequest{})
	slices.Sort(want)
	slices.Sort(request)
	if !slices.Equal(want, request) {
		t.Errorf("the request has\n%q, documented are\n%q", want, request)
	}
	for row, x := range map[string]struct {
		object any
		more   []any    // objects in it, told in the same row
		values []string // other words in backquotes
	}{
		"status":          {object: Status{}},
		"buffers":         {object: Buffers{}},
		"members":         {object: Members{}},
		"a member":        {object: MemberStatus{}},
		"last_push":       {object: LastPush{}},
		"pushes":          {object: Pushes{}},
		"a push":          {object: PushStatus{}, values: []string{"stage", "lock", "stream", "staged", "undecided", "commit", RoleMember}},
		"a push's member": {object: PushMember{}, values: []string{"active", "parked", "staged"}},
		"accepted":        {object: Accepted{}},
		"start":           {object: Start{}, more: []any{Peer{}}},
		"waiting":         {object: Waiting{}},
		"progress": {object: Progress{}, more: []any{Awaited{}}, values: []string{StageLock, StageWait, StageSend, StageFlush, StageCommit,
			StageReport, StageAbort}},
		"path":    {object: Path{}, values: []string{ActionUpdate, ActionDelete, ActionSkip, ActionOK, ActionDiffers}},
		"problem": {object: Problem{}, values: []string{SeverityError, SeverityWarning}},
		"decided": {object: Decided{}},
		"member":  {object: Member{}, more: []any{Counts{}}, values: []string{"ignore_missing"}},
		"summary": {object: Summary{}},
		"failed":  {object: Failed{}, values: []string{CodeAborted}},
	} {
		text, ok := rows[row]
		if !ok {
			t.Errorf("there is no row for %s", row)
			continue
		}
		named, has := quoted(text), fields(x.object)
		for _, o := range x.more {
			has = append(has, fields(o)...)
		}
		for _, name := range has {
			if !slices.Contains(named, name) {
				t.Errorf("%s: the field %s is not documented", row, name)
			}
		}
		for _, name := range named {
			if !slices.Contains(has, name) && !slices.Contains(x.values, name) {
				t.Errorf("%s: %s is documented, and there is no such field", row, name)
			}
		}
	}
}

// TestHost: what a web page could be behind is refused, on the socket as well.
func TestHost(t *testing.T) {
	_, c := serve(t, &fake{})
	for host, status := range map[string]int{
		"localhost": 200, "localhost:5000": 200, "127.0.0.1": 200, "127.8.9.1:80": 200, "[::1]": 200, "[::1]:80": 200,
		"evil.example": 403, "evil.example:80": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "127.0.0.1.evil.example": 403, "[fe80::1]": 403,
	} {
		for method, path := range map[string]string{"GET": "/v1/status", "DELETE": "/v1/members/dst"} {
			req, err := http.NewRequest(method, "http://localhost"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := c.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("%s with Host %s: %d, want %d", method, host, resp.StatusCode, status)
			}
		}
	}
}
