package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster/runtime/clock"
)

// process runs in the background, in a session of its own, with its pid and its log in a
// folder.
type process struct {
	dir, name string
	// command begins its command line and names the cluster, so that a pid which is another
	// process's by now is known.
	command []string
}

func (p process) pid() string { return filepath.Join(p.dir, p.name+".pid") }
func (p process) log() string { return filepath.Join(p.dir, p.name+".log") }

// start runs it with further arguments.
func (p process) start(args ...string) error {
	log, err := os.Create(p.log())
	if err != nil {
		return err
	}
	defer log.Close()                                                                               //nolint:errcheck // the child has its own
	c := exec.Command(p.command[0], append(p.command[1:len(p.command):len(p.command)], args...)...) //nolint:noctx // it outlives this
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(p.pid(), []byte(strconv.Itoa(c.Process.Pid)), 0o600); err != nil {
		return err
	}
	for range 5 { // the kernel shows its command line a moment later, or it has ended already
		if p.running() != 0 {
			return nil
		}
		<-pause()
	}
	return nil
}

// running is the pid of what was started here, 0 if it has ended.
func (p process) running() int {
	text, err := os.ReadFile(p.pid())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.HasPrefix(line, []byte(strings.Join(p.command, "\x00")+"\x00")) {
		return 0
	}
	return pid
}

// ended is why it can't be waited for, nil while it runs.
func (p process) ended() error {
	if p.running() != 0 {
		return nil
	}
	text, _ := os.ReadFile(p.log())
	return fmt.Errorf("%s ended:\n%s", strings.Join(p.command[:2], " "), text)
}

// end ends it, if it runs, and waits for that.
func (p process) end() error {
	pid := p.running()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending %s, pid %d: %w", p.command[0], pid, err)
	}
	for range 200 {
		if p.running() == 0 {
			return nil
		}
		<-pause()
	}
	return fmt.Errorf("%s, pid %d, does not end", p.command[0], pid)
}

// pause fires after a moment.
func pause() <-chan int64 {
	var c clock.Real
	return c.Wake(c.Now() + int64(100*time.Millisecond))
}
