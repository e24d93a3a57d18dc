package score

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Row is one line of a scorecard for people. Group names the part of the card;
// Text has the unit; it is "-" when the figure does not apply.
type Row struct{ Group, Label, Text string }

// Rows lists the card for people, in a fixed order and number, so that cards
// stand side by side.
func (c *Card) Rows() []Row {
	j := &c.Jobs
	return []Row{
		{"Cluster", "capacity", GPUs(c.CapacityGPUs) + " GPUs"},
		{"Cluster", "time counted", Span(c.WindowHours * 3600)},
		{"Cluster", "allocated", percent(c.AllocationRatio)},
		{"Cluster", "of possible demand", percent(c.DemandUtilisation)},
		{"Cluster", "goodput", percent(c.Goodput)},
		{"Cluster", "fragmented, of all / of idle", fragments(c)},
		{"Fairness", "Jain index over ideal shares", decimals(c.Jain, 4)},
		{"Fairness", "share error, mean / max", GPUs(c.ShareErrorMean) + " / " + GPUs(c.ShareErrorMax) + " GPUs"},
		{"Fairness", "guarantee deficit", decimals(c.GuaranteeDeficit, 1) + " GPU-h"},
		{"Fairness", "time to guarantee, p50 / p99 / max", episodes(c)},
		{"Fairness", "queues worse off than alone", worseOff(c)},
		{"Jobs", "counted / unstarted / unfinished", fmt.Sprintf("%d / %d / %d", j.Count, j.Unstarted, j.Unfinished)},
		{"Jobs", "wait, mean", Span(j.WaitMean)},
		{"Jobs", "wait, p50 / p99", Span(j.WaitP50) + " / " + Span(j.WaitP99)},
		{"Jobs", "waited over 1 h", percent(j.WaitedHour)},
		{"Jobs", "gang wait, mean / p99", Span(j.GangWaitMean) + " / " + Span(j.GangWaitP99)},
		{"Jobs", "completion, mean", Span(j.JCTMean)},
		{"Jobs", "completion, p50 / p99", Span(j.JCTP50) + " / " + Span(j.JCTP99)},
		{"Jobs", "makespan", Span(j.Makespan)},
		{"Jobs", "bounded slowdown, mean", decimals(j.Slowdown, 2)},
		{"Jobs", "finish-time fairness, mean / worst", decimals(j.RhoMean, 2) + " / " + decimals(j.RhoWorst, 2)},
		{"Jobs", "unfair (over 1.05)", percent(j.Unfair)},
		{"Jobs", "deadlines met", deadlines(j)},
		{groupUse, "held, as far as it was measured", c.use(func(u *UseFigures) string { return gpuHours(u.MeasuredGPUHours) })},
		{groupUse, "of that really busy", c.use(func(u *UseFigures) string {
			return percent(ratio(u.BusyGPUHours, u.MeasuredGPUHours)) + ", " + gpuHours(u.BusyGPUHours)
		})},
		{groupUse, "of that idle", c.use(func(u *UseFigures) string {
			return percent(ratio(u.IdleGPUHours, u.MeasuredGPUHours)) + ", " + gpuHours(u.IdleGPUHours)
		})},
		{groupUse, "evicted for being idle / stayed", c.use(func(u *UseFigures) string { return fmt.Sprintf("%d / %d", u.IdleVictims, u.Withdrawn) })},
		{"Preemption", "victims / tasks / GPUs", fmt.Sprintf("%d / %d / %s", c.Victims, c.VictimTasks, GPUs(c.VictimGPUs))},
		{"Preemption", "work lost", decimals(c.LostGPUHours, 1) + " GPU-h"},
	}
}

// groupUse is of the rows that are left out where nothing was measured.
const groupUse = "Use of GPUs"

func (c *Card) use(text func(*UseFigures) string) string {
	if c.Use == nil {
		return "-"
	}
	return text(c.Use)
}

func gpuHours(v float64) string { return decimals(v, 1) + " GPU-h" }

// Line is one line of several scorecards side by side.
type Line struct {
	Group, Label string
	Values       []string // of each card
}

// Lines are the rows of several cards, without those that none of them has measured.
func Lines(cards []*Card) (out []Line) {
	measured := slices.ContainsFunc(cards, func(c *Card) bool { return c.Use != nil })
	for i, c := range cards {
		for k, r := range c.Rows() {
			if i == 0 {
				out = append(out, Line{Group: r.Group, Label: r.Label})
			}
			out[k].Values = append(out[k].Values, r.Text)
		}
	}
	return slices.DeleteFunc(out, func(l Line) bool { return l.Group == groupUse && !measured })
}

// QueueHeader names the columns of QueueRows.
func (c *Card) QueueHeader() []string {
	h := []string{"queue", "guaranteed", "max", "used", "at end", "ideal", "demand", "deficit", "jobs", "wait", "p99", "vs alone", "victims", "lost"}
	if c.Use != nil {
		h = slices.Insert(h, 4, "busy", "idle")
	}
	return h
}

// QueueRows is the per-queue table, one line a queue, as QueueHeader: GPUs,
// GPU-hours and spans.
func (c *Card) QueueRows() [][]string {
	var out [][]string
	for i := range c.Queues {
		q := &c.Queues[i]
		limit, alone := "-", "-"
		if q.Max > 0 {
			limit = GPUs(q.Max)
		}
		if q.WaitVersusPrivate != nil {
			alone = decimals(*q.WaitVersusPrivate, 2) + "x"
		}
		line := []string{
			q.Name, GPUs(q.Guaranteed), limit, GPUs(q.Used), GPUs(q.UsedAtEnd), GPUs(q.Ideal), GPUs(q.Demand),
			decimals(q.Deficit, 1), strconv.Itoa(q.Jobs.Count), Span(q.Jobs.WaitMean), Span(q.Jobs.WaitP99), alone,
			strconv.FormatInt(q.Victims, 10), decimals(q.LostGPUHours, 1),
		}
		if c.Use != nil {
			line = slices.Insert(line, 4, GPUs(ratio(q.Use.BusyGPUHours, c.WindowHours)), GPUs(ratio(q.Use.IdleGPUHours, c.WindowHours)))
		}
		out = append(out, line)
	}
	return out
}

// Text writes the card as aligned tables for people.
func (c *Card) Text(w io.Writer) error { return Compare(w, nil, []*Card{c}) }

// Compare writes several cards side by side, then the queues of each. Names
// head the columns; without names there is no header.
func Compare(w io.Writer, names []string, cards []*Card) error {
	var table [][]string
	if len(names) > 0 {
		table = append(table, append([]string{""}, names...))
	}
	group := ""
	for _, l := range Lines(cards) {
		if l.Group != group {
			group = l.Group
			table = append(table, []string{strings.ToUpper(group)})
		}
		table = append(table, append([]string{"  " + l.Label}, l.Values...))
	}
	if err := writeTable(w, table); err != nil {
		return err
	}
	for i, c := range cards {
		title := "\nQUEUES (GPUs, deficit and lost in GPU-h)"
		if len(names) > i {
			title = "\nQUEUES of " + names[i] + " (GPUs, deficit and lost in GPU-h)"
		}
		if _, err := fmt.Fprintln(w, title); err != nil {
			return err
		}
		if err := writeTable(w, append([][]string{c.QueueHeader()}, c.QueueRows()...)); err != nil {
			return err
		}
	}
	return nil
}

// writeTable aligns the first column to the left and the others to the right.
// A line of one cell is a heading and widens nothing.
func writeTable(w io.Writer, table [][]string) error {
	var width []int
	for _, line := range table {
		for i, s := range line {
			if i == len(width) {
				width = append(width, 0)
			}
			if len(line) > 1 {
				width[i] = max(width[i], utf8.RuneCountInString(s))
			}
		}
	}
	for _, line := range table {
		var b strings.Builder
		for i, s := range line {
			pad := strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(s)))
			if i == 0 {
				b.WriteString(s + pad)
			} else {
				b.WriteString("  " + pad + s)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// Span writes seconds in the unit that people would use.
func Span(s float64) string {
	switch {
	case s < 0:
		return "-" + Span(-s)
	case s < 120:
		return decimals(s, 1) + " s"
	case s < 2*3600:
		return decimals(s/60, 1) + " min"
	case s < 72*3600:
		return decimals(s/3600, 2) + " h"
	default:
		return decimals(s/86400, 2) + " d"
	}
}

// GPUs writes a number of GPUs with at most two decimals.
func GPUs(v float64) string { return decimals(v, 2) }

// decimals writes at most n decimals and no zeros at the end.
func decimals(v float64, n int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	s := strconv.FormatFloat(v, 'f', n, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 2, 64) + " %" }

func fragments(c *Card) string {
	if c.FragmentRatio == nil {
		return "-"
	}
	return percent(*c.FragmentRatio) + " / " + percent(*c.FragmentOfIdle)
}

func episodes(c *Card) string {
	if c.Episodes == 0 {
		return "-"
	}
	s := Span(c.TimeToGuaranteeP50) + " / " + Span(c.TimeToGuaranteeP99) + " / " + Span(c.TimeToGuaranteeMax)
	if c.EpisodesOpen > 0 {
		s += fmt.Sprintf(" (%d open)", c.EpisodesOpen)
	}
	return s
}

func worseOff(c *Card) string {
	if c.QueuesWorseOff == nil {
		return "-"
	}
	return fmt.Sprintf("%d of %d", *c.QueuesWorseOff, len(c.Queues))
}

func deadlines(j *JobFigures) string {
	if j.Met == nil {
		return "-"
	}
	return percent(*j.Met) + fmt.Sprintf(" of %d", j.Deadlines)
}
