package demo

import (
	"context"
	"time"

	"github.com/musterhq/muster/builtin/spec"
)

// How a story lasts when somebody watches: playTime for the clock to run through
// it, and tellTime for each sentence.
const (
	playTime = 4 * time.Second
	tellTime = 1600 * time.Millisecond
	frame    = 70 * time.Millisecond
	maxLag   = time.Second // behind by more, the rest is let go
)

// pace makes simulated time last. With no speed it lets everything pass at once.
type pace struct {
	ctx   context.Context
	speed float64   // simulated ns for one real ns; 0 never waits
	due   time.Time // when the present moment is to be over
	drawn time.Time // when the last frame was drawn
	now   spec.Time
}

func newPace(ctx context.Context, o Options, s *story) *pace {
	p := &pace{ctx: ctx, due: time.Now()}
	if !o.Fast && o.Size != nil {
		p.speed = float64(s.trace.End) / float64(playTime)
	}
	return p
}

// pass waits while simulated time goes on, and draws a frame now and then.
func (p *pace) pass(until spec.Time, draw func(at spec.Time)) {
	from := p.now
	p.now = max(until, from)
	if p.speed == 0 || until <= from {
		return
	}
	p.lag()
	begun := p.due
	p.due = p.due.Add(time.Duration(float64(until-from) / p.speed))
	for p.ctx.Err() == nil {
		now := time.Now()
		if now.Sub(p.drawn) >= frame {
			p.drawn = now
			draw(min(until, max(from, from+spec.Time(float64(now.Sub(begun))*p.speed))))
		}
		if !now.Before(p.due) {
			return
		}
		p.sleep(min(frame, p.due.Sub(now)))
	}
}

// pause leaves time to read.
func (p *pace) pause(draw func()) {
	draw()
	if p.speed == 0 {
		return
	}
	p.lag()
	p.due = p.due.Add(tellTime)
	p.sleep(time.Until(p.due))
}

func (p *pace) lag() {
	if now := time.Now(); now.Sub(p.due) > maxLag {
		p.due = now
	}
}

func (p *pace) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}
