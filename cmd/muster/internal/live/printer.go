package live

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// printer prints lines with the time of day, on a goroutine of its own: a terminal
// that is held must not hold the scheduler.
type printer struct {
	w     io.Writer
	lines chan string
	done  sync.WaitGroup

	mu      sync.Mutex
	dropped int // lines that found the queue full
}

// kept is how many lines wait for a slow reader.
const kept = 4096

func newPrinter(w io.Writer) *printer {
	p := &printer{w: w, lines: make(chan string, kept)}
	p.done.Go(func() {
		for l := range p.lines {
			fmt.Fprintln(p.w, l)
		}
	})
	return p
}

// say prints a line that begins with the time of day.
func (p *printer) say(format string, args ...any) {
	p.print(time.Now().Format(time.TimeOnly) + "  " + fmt.Sprintf(format, args...))
}

func (p *printer) print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dropped > 0 && len(p.lines) < kept/2 {
		p.lines <- fmt.Sprintf("(%d lines were left out: the reader is too slow)", p.dropped)
		p.dropped = 0
	}
	select {
	case p.lines <- line:
	default:
		p.dropped++
	}
}

func (p *printer) close() {
	close(p.lines)
	p.done.Wait()
}
