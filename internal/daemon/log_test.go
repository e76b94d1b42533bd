package daemon

import (
	"bytes"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestLogIsJSONForPrograms(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(zapcore.AddSync(&b), false, NewLevel(zapcore.InfoLevel))
	log.Debug("not shown")
	log.Info("push done", zap.String("member", "web1"), zap.Duration("took", 1500*time.Millisecond))
	var m map[string]any
	if err := json.Unmarshal(b.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, b.Bytes())
	}
	if m["msg"] != "push done" || m["member"] != "web1" || m["level"] != "info" || m["took"] != "1.5s" {
		t.Errorf("%v", m)
	}
	if at, err := time.Parse(time.RFC3339Nano, m["time"].(string)); err != nil || at.Location() != time.UTC {
		t.Errorf("time %v: %v", m["time"], err)
	}
}

func TestLogIsALineForPeople(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(zapcore.AddSync(&b), true, NewLevel(zapcore.InfoLevel))
	log.Warn("slow", zap.String("member", "web1"))
	line := b.String()
	if !strings.Contains(line, "WARN") || !strings.Contains(line, "slow") || !strings.Contains(line, `"web1"`) || strings.HasPrefix(line, "{") {
		t.Errorf("%q", line)
	}
}

// Every event is logged, however many there are of one kind.
func TestLogLeavesNothingOut(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(zapcore.AddSync(&b), false, NewLevel(zapcore.InfoLevel))
	for range 1000 {
		log.Info("same")
	}
	if n := bytes.Count(b.Bytes(), []byte("\n")); n != 1000 {
		t.Errorf("%d of 1000 lines", n)
	}
}

func TestSignals(t *testing.T) {
	var b bytes.Buffer
	level := NewLevel(zapcore.InfoLevel)
	stopped, exited := 0, []int{}
	now := time.Unix(1000, 0)
	s := &Signals{Level: level, Log: newLogger(zapcore.AddSync(&b), false, level),
		Stop: func() { stopped++ }, Exit: func(n int) { exited = append(exited, n) }}
	s.handle(now, syscall.SIGUSR1)
	s.handle(now, syscall.SIGUSR1)
	if level.Level() != zapcore.DebugLevel {
		t.Errorf("SIGUSR1: %v", level.Level())
	}
	for _, want := range []zapcore.Level{zapcore.InfoLevel, zapcore.WarnLevel, zapcore.ErrorLevel, zapcore.ErrorLevel} {
		if s.handle(now, syscall.SIGUSR2); level.Level() != want {
			t.Errorf("SIGUSR2: %v, want %v", level.Level(), want)
		}
	}
	level.SetLevel(zapcore.InfoLevel)
	if s.handle(now, syscall.SIGHUP); stopped != 0 || !strings.Contains(b.String(), "restart the daemon") {
		t.Errorf("SIGHUP: stopped %d, log %s", stopped, b.String())
	}
	s.handle(now, syscall.SIGTERM)
	if stopped != 1 || len(exited) != 0 {
		t.Errorf("the first: stopped %d, exited %v", stopped, exited)
	}
	now = now.Add(999 * time.Millisecond)
	s.handle(now, syscall.SIGTERM)
	s.handle(now, syscall.SIGINT)
	if stopped != 1 || len(exited) != 0 {
		t.Errorf("the same once more: stopped %d, exited %v", stopped, exited)
	}
	now = now.Add(time.Millisecond)
	s.handle(now, syscall.SIGINT)
	if stopped != 1 || len(exited) != 1 || exited[0] != 1 {
		t.Errorf("the second: stopped %d, exited %v", stopped, exited)
	}
}

func TestWatchHearsSignals(t *testing.T) {
	level := NewLevel(zapcore.InfoLevel)
	heard := make(chan struct{})
	s := &Signals{Level: level, Log: zap.NewNop(), Stop: func() { close(heard) }, Exit: func(int) {}}
	end := s.Watch()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-heard
	end()
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := Notify(NotifyReady); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", path+"x")
	if err := Notify(NotifyStopping); err == nil {
		t.Error("nobody there, and no error")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(NotifyReady); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
}
