//go:build gpu

package gpucheck

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var findings = flag.String("findings", "", "file to write the findings to")

// TestMain begins the file with the machine it is about.
func TestMain(m *testing.M) {
	flag.Parse()
	var head strings.Builder
	fmt.Fprintf(&head, "# What a real GPU showed\n\n%s, driver and GPUs:\n\n```\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(&head, "%s```\n", output("nvidia-smi", "--query-gpu=index,name,driver_version,memory.total,mig.mode.current", "--format=csv"))
	fmt.Fprintf(&head, "\nKernel %s. Each line below is what a check printed; a check that failed says so.\n", strings.TrimSpace(output("uname", "-r")))
	write(head.String(), os.O_TRUNC)
	os.Exit(m.Run())
}

func write(text string, how int) {
	if *findings == "" {
		return
	}
	f, err := os.OpenFile(*findings, os.O_CREATE|os.O_WRONLY|how, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	_, _ = io.WriteString(f, text)
	_ = f.Close()
}

// found is a finding: in the test's output and in the file.
func found(t *testing.T, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Log(text)
	write(fmt.Sprintf("- %s: %s\n", strings.TrimPrefix(t.Name(), "Test"), strings.ReplaceAll(text, "\n", "\n  ")), os.O_APPEND)
}

// wrong is a finding that should not be.
func wrong(t *testing.T, format string, args ...any) {
	t.Helper()
	found(t, "FAILED: "+format, args...)
	t.Fail()
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// python is a program that prints "ready" once it has a context on the GPU, and goes on by
// a line of input at a time.
type python struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// torch starts a program in which each line of input is a statement, after which a line
// with the value of `r` is printed. It skips where there is no torch.
func torch(t *testing.T) *python {
	t.Helper()
	if err := exec.Command("python3", "-c", "import torch; assert torch.cuda.is_available()").Run(); err != nil {
		t.Skip("no python3 with torch that sees a GPU here")
	}
	p := &python{t: t, cmd: exec.Command("python3", "-u", "-c", `
import sys, time, torch
x = torch.zeros(1, device='cuda'); torch.cuda.synchronize()
r = 'ready'; print(r)
for line in sys.stdin:
    exec(line)
    print(r)
`)}
	p.in, _ = p.cmd.StdinPipe()
	out, _ := p.cmd.StdoutPipe()
	var errs bytes.Buffer
	p.cmd.Stderr = &errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	t.Cleanup(func() {
		_ = p.in.Close()
		_ = p.cmd.Wait()
		if errs.Len() > 0 {
			t.Log(errs.String())
		}
	})
	p.line()
	return p
}

func (p *python) pid() uint32 { return uint32(p.cmd.Process.Pid) }

func (p *python) line() string {
	if !p.out.Scan() {
		p.t.Fatal("python has ended: ", p.out.Err())
	}
	return p.out.Text()
}

// do runs a statement and returns what r is after it.
func (p *python) do(statement string) string {
	p.tell(statement)
	return p.line()
}

func (p *python) tell(statement string) {
	if _, err := io.WriteString(p.in, statement+"\n"); err != nil {
		p.t.Fatal(err)
	}
}
