// Package process starts and ends the processes of a test cluster, and makes sure
// that it never touches another: a pid alone says little, as the kernel gives it to
// somebody else later, so every process is known by its pid and its time of start.
//
// It reads the proc file system, so it needs Linux.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// ID names one process for ever.
type ID struct {
	PID int `json:"pid"`
	// Start is the time of start in clock ticks since boot: field 22 of
	// /proc/PID/stat, see proc(5).
	Start uint64 `json:"start"`
}

// State is what a process does at the moment.
type State string

// The states; Gone is also the state of a process that has ended and was not yet
// waited for by its parent.
const (
	Running State = "running"
	Paused  State = "paused"
	Gone    State = "gone"
)

// poll is how often a process is looked at while somebody waits for its end.
const poll = 20 * time.Millisecond

// Find returns the identity of the process that has the pid now.
func Find(pid int) (ID, error) {
	id, _, err := stat(pid)
	return id, err
}

// State says what the process does. If its pid belongs to another process by now, it
// is gone.
func (id ID) State() State {
	now, letter, err := stat(id.PID)
	switch {
	case err != nil || now != id || letter == 'Z' || letter == 'X':
		return Gone
	case letter == 'T' || letter == 't':
		return Paused
	}
	return Running
}

// Signal sends a signal to the process, unless it is gone.
func (id ID) Signal(s syscall.Signal) error {
	if id.State() == Gone {
		return fmt.Errorf("process %d: %w", id.PID, os.ErrProcessDone)
	}
	return syscall.Kill(id.PID, s)
}

// Kill ends the process at once, paused or not, and waits until it is gone.
func (id ID) Kill(ctx context.Context) error {
	if err := id.Signal(syscall.SIGKILL); err != nil && !gone(err) {
		return fmt.Errorf("ending process %d: %w", id.PID, err)
	}
	return id.Wait(ctx)
}

// End asks the process to finish, and kills it when it has not done so after grace.
func (id ID) End(ctx context.Context, grace time.Duration) error {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} { // a paused process hears nothing
		if err := id.Signal(s); err != nil && !gone(err) {
			return fmt.Errorf("ending process %d: %w", id.PID, err)
		}
	}
	patient, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if id.Wait(patient) == nil {
		return nil
	}
	return id.Kill(ctx)
}

// Wait returns when the process is gone.
func (id ID) Wait(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, poll, true, func(context.Context) (bool, error) {
		return id.State() == Gone, nil
	})
	if err != nil {
		return fmt.Errorf("process %d has not ended: %w", id.PID, err)
	}
	return nil
}

// RSS is the memory of the process in bytes, 0 if it is gone.
func (id ID) RSS() int64 {
	b, err := os.ReadFile(procFile(id.PID, "statm"))
	fields := bytes.Fields(b)
	if err != nil || len(fields) < 2 || id.State() == Gone {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// Save writes the identity into a pid file.
func (id ID) Save(file string) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o600)
}

// Load reads a pid file.
func Load(file string) (ID, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return ID{}, err
	}
	var id ID
	if err := json.Unmarshal(b, &id); err != nil || id.PID <= 0 {
		return ID{}, fmt.Errorf("%s is no pid file: %q", file, b)
	}
	return id, nil
}

// Spec says what to start.
type Spec struct {
	Path string   // the program
	Args []string // without the program's name
	Env  []string
	Dir  string
	Log  string // the file that its output is appended to
}

// Child is a process that was started here.
type Child struct {
	ID
	// Exited is closed when the process has ended.
	Exited <-chan struct{}
}

// Spawn starts a process in a session of its own, so that it outlives the terminal
// and the caller.
func Spawn(s Spec) (*Child, error) {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own copy, and nothing was written through this one
	cmd := exec.Command(s.Path, s.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.Env, s.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(s.Path), err)
	}
	id, err := Find(cmd.Process.Pid) // not waited for yet, so the pid is still its own
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its log says why it ended
	}()
	if err != nil {
		return nil, err
	}
	return &Child{ID: id, Exited: exited}, nil
}

// gone says whether an error of Signal means that there is nothing to signal.
func gone(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// stat reads identity and state letter of a process.
func stat(pid int) (ID, byte, error) {
	b, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return ID{}, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	letter, start, err := parseStat(string(b))
	if err != nil {
		return ID{}, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return ID{PID: pid, Start: start}, letter, nil
}

// parseStat takes the state (field 3) and the start (field 22) from a stat line. The
// name before them, in parentheses, may itself hold blanks and parentheses.
func parseStat(line string) (letter byte, start uint64, err error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("not a line of proc(5) stat: %q", line)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("not a line of proc(5) stat: %q: %w", line, err)
	}
	return fields[0][0], start, nil
}
