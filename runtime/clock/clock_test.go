package clock

import (
	"testing"
	"time"
)

func TestVirtualFiresAlarmsInOrderAndOnlyWhenReached(t *testing.T) {
	v := NewVirtual(100)
	late, early, past := v.Wake(300), v.Wake(200), v.Wake(50)
	if got := <-past; got != 50 {
		t.Fatalf("an alarm in the past fires at once, got %d", got)
	}
	v.Advance(250)
	if got := <-early; got != 200 {
		t.Fatalf("early alarm: got %d", got)
	}
	select {
	case at := <-late:
		t.Fatalf("the late alarm fired at %d though the clock shows %d", at, v.Now())
	default:
	}
	v.Advance(10)
	if v.Now() != 250 {
		t.Fatalf("the clock went back to %d", v.Now())
	}
	v.Advance(300)
	<-late
}

func TestRealWakesAfterTheTime(t *testing.T) {
	var c Real
	at := c.Now() + int64(5*time.Millisecond)
	<-c.Wake(at)
	if c.Now() < at {
		t.Fatal("woke before the time")
	}
}
