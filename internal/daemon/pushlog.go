package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"makuo/internal/control"
	"makuo/protocol"
)

// logNames is how many paths, or members that are not done, a line of the log
// names.
const logNames = 10

// pushLog writes to the origin's log who pushes what, and how it ended.
type pushLog struct {
	log *zap.Logger // with what was asked for

	mu    sync.Mutex
	id    string
	short []string // members that are not done, and why
	more  int      // others
	over  bool
}

func newPushLog(log *zap.Logger, req *control.PushRequest) *pushLog {
	fields := []zap.Field{zap.Int("uid", req.UID)}
	if u, err := user.LookupId(strconv.Itoa(req.UID)); req.UID >= 0 && err == nil {
		fields = append(fields, zap.String("user", u.Username))
	}
	module := req.Module
	if module == "" {
		module = protocol.DefaultModule
	}
	fields = append(fields, zap.String("module", module), zap.Strings("paths", firstOf(req.Paths)),
		zap.String("options", optionWords(req)))
	return &pushLog{log: log.With(fields...)}
}

// see takes an event of the push, before the caller gets it.
func (l *pushLog) see(ev control.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e := ev.(type) {
	case *control.Start:
		l.id = e.Push
		l.log.Debug("push begins", zap.String("push", e.Push), zap.Int("members", len(e.Roster)), zap.Int("absent", len(e.Missing)))
	case *control.Member:
		l.member(e)
	case *control.Summary:
		l.summary(e)
	}
}

func (l *pushLog) member(m *control.Member) {
	switch {
	case m.Outcome == control.OutcomeDone || m.Outcome == control.OutcomeLate || m.Outcome == control.OutcomeAborted || m.Ignored:
	case len(l.short) == logNames:
		l.more++
	case m.Message != "":
		l.short = append(l.short, m.Name+": "+m.Outcome+": "+string(m.Message))
	default:
		l.short = append(l.short, m.Name+": "+m.Outcome)
	}
}

func (l *pushLog) summary(s *control.Summary) {
	l.over = true
	level, outcome := zapcore.WarnLevel, "not on all members"
	switch {
	case s.Exit == control.ExitOK:
		level, outcome = zapcore.InfoLevel, "done"
	case s.Exit == control.ExitAborted:
		outcome = "aborted, nothing was changed anywhere"
	case s.Exit == control.ExitNobody || l.id == "":
		outcome = "nothing was sent"
	case s.Check && s.Failed+s.Lost+s.Missing+s.Away == 0:
		outcome = "differences found"
	}
	if s.Reason != "" {
		outcome += ": " + string(s.Reason)
	}
	fields := l.ended(outcome, s.Exit, zap.Int("done", s.Done), zap.Int("late", s.Late), zap.Int("failed", s.Failed), zap.Int("lost", s.Lost),
		zap.Int("missing", s.Missing), zap.Int("away", s.Away), zap.Uint64("updated", s.Updated), zap.Uint64("deleted", s.Deleted),
		zap.Uint64("files", s.Files), zap.Uint64("bytes", s.Bytes), zap.Float64("seconds", s.Seconds))
	l.log.Log(level, "push ended", fields...)
}

// end takes how the push ended if it came to no summary.
func (l *pushLog) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || err == nil {
		return
	}
	level, exit := zapcore.ErrorLevel, control.ExitPartial
	var e *control.Error
	switch {
	case errors.As(err, &e):
		exit = e.ExitStatus()
		if e.Code != control.CodeInternal {
			level = zapcore.WarnLevel
		}
	case errors.Is(err, context.Canceled):
		level, exit, err = zapcore.WarnLevel, control.ExitAborted, errors.New("aborted, nothing was changed anywhere")
	}
	l.log.Log(level, "push ended", l.ended(err.Error(), exit)...)
}

// ended returns the fields that each line of an end has, and more.
func (l *pushLog) ended(outcome string, exit int, more ...zap.Field) []zap.Field {
	var fields []zap.Field
	if l.id != "" {
		fields = append(fields, zap.String("push", l.id))
	}
	fields = append(fields, zap.String("outcome", outcome), zap.Int("exit", exit))
	fields = append(fields, more...)
	if l.more > 0 {
		l.short = append(l.short, fmt.Sprintf("and %d more", l.more))
	}
	if len(l.short) > 0 {
		fields = append(fields, zap.Strings("not_done", l.short))
	}
	return fields
}

// firstOf returns the first paths, and how many others there are.
func firstOf(paths []control.Text) (list []string) {
	for i, p := range paths {
		if i == logNames {
			return append(list, fmt.Sprintf("and %d more", len(paths)-i))
		}
		list = append(list, string(p))
	}
	return list
}

// optionWords writes a request's options as msync takes them.
func optionWords(r *control.PushRequest) string {
	var words []string
	for _, o := range [...]struct {
		set  bool
		word string
	}{{r.Recursive, "--recursive"}, {r.Delete, "--delete"}, {r.DryRun && !r.Check, "--dry-run"}, {r.Checksum, "--checksum"},
		{r.Check, "--check"}, {r.Devices, "--devices"}, {r.ForceEmpty, "--force-empty"}, {r.DeleteMissing, "--delete-missing"},
		{r.IgnoreMissing, "--ignore-missing"}, {r.AllOrNone, "--all-or-none"}} {
		if o.set {
			words = append(words, o.word)
		}
	}
	if r.MaxDelete != nil {
		words = append(words, fmt.Sprintf("--max-delete %d", *r.MaxDelete))
	}
	if r.Expect > 0 {
		words = append(words, fmt.Sprintf("--expect %d", r.Expect))
	}
	if r.WaitSeconds != nil {
		words = append(words, fmt.Sprintf("--wait %v", *r.WaitSeconds))
	}
	if r.TimeoutSeconds > 0 {
		words = append(words, fmt.Sprintf("--timeout %v", r.TimeoutSeconds))
	}
	words = append(words, some("pattern", len(r.Rules))...)
	if n := len(r.Targets); n > 0 && n <= logNames {
		words = append(words, "-t "+strings.Join(r.Targets, ","))
	} else {
		words = append(words, some("target", n)...)
	}
	return strings.Join(words, " ")
}

func some(what string, n int) []string {
	if n == 0 {
		return nil
	}
	return []string{control.Count(n, what, what+"s")}
}
