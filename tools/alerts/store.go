package alerts

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// store has the samples of all series in memory, each series in the order of time.
type store struct {
	series []*series
	at     map[uint64]int // place in series, by the hash of the labels
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// add adds a sample that is newer than all others of its series.
func (s *store) add(l labels.Labels, ms int64, v float64) {
	i, known := s.at[l.Hash()]
	if !known {
		if s.at == nil {
			s.at = map[uint64]int{}
		}
		i = len(s.series)
		s.at[l.Hash()], s.series = i, append(s.series, &series{labels: l})
	}
	s.series[i].samples = append(s.series[i].samples, sample{ms, v})
}

// Querier has the engine ask the store.
func (s *store) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &set{next: -1}
		for _, one := range s.series {
			if matches(one.labels, matchers) {
				found.list = append(found.list, one)
			}
		}
		return found
	}}, nil
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// set is what a selector has found.
type set struct {
	list []*series
	next int
}

func (s *set) Next() bool { s.next++; return s.next < len(s.list) }
func (s *set) At() storage.Series {
	return storage.NewListSeries(s.list[s.next].labels, s.list[s.next].samples)
}
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

// sample is a number at a time.
type sample struct {
	ms int64
	v  float64
}

func (s sample) T() int64                      { return s.ms }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

var _ storage.Queryable = (*store)(nil)
