package usage

import (
	"cmp"
	"hash/fnv"
	"math"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// DefaultStreamAge is used where nothing is said.
const DefaultStreamAge = 30 * time.Minute

// renewGrace is for how long a stream may go on that was asked for a new one. A probe that
// can't be identified any more is believed for that long.
const renewGrace = 60 * spec.Second

// doubtAge is the age at which a stream is asked to come anew whose node was deleted, though
// its token was good after that.
const doubtAge = 120 * spec.Second

// life of a stream. Whose it is was asked when it was opened, and that is true no more when
// its node is deleted or its token is void. So it is asked to come anew, which asks again;
// the new one takes its place, and all that the node said stays.
type life struct {
	renewAt spec.Time // when to ask for a new one
	askedAt spec.Time // 0 before
	endAt   spec.Time // when it ends if none came, set with askedAt
	longest spec.Time // it ends then if it could not be told whose it is
}

// lifeOf a stream that a node opens now: up to a fifth shorter than MaxStreamAge, by its
// name, so that thousands who came together don't for ever come together again.
func (s *Server) lifeOf(node string, now spec.Time) life {
	age := spec.Duration(cmp.Or(s.o.MaxStreamAge, DefaultStreamAge))
	if age < 0 {
		return life{renewAt: math.MaxInt64}
	}
	h := fnv.New32a()
	h.Write([]byte(node))
	return life{renewAt: now + age - age/5000*spec.Duration(h.Sum32()%1000), longest: now + 2*age}
}

// renewOld asks for new streams in the place of those that are too old, or whose node was
// deleted, and ends those that were asked in vain.
func (s *Server) renewOld(now spec.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.mu.streams {
		l := &st.life
		switch {
		case l.askedAt == 0 && now < l.renewAt && !st.doubtful(now):
		case l.askedAt == 0:
			l.askedAt, l.endAt = now, now+renewGrace
			st.want(func(a *wire.Ask) { a.Renew = true })
		case now < l.endAt:
		case s.mu.unsureAt >= l.askedAt && now < l.longest: // not the probe's fault; it tries on
			l.askedAt, l.endAt = now, now+renewGrace
		default:
			l.endAt = math.MaxInt64
			st.stop(s.reject(codes.Unauthenticated, refuse("expired",
				"node %s: the stream is too old, and no new one came in its place: is its token still good, or the probe of another version?", st.node.name)))
		}
	}
}

// unsure notes that it could not be told whose a token is.
func (s *Server) unsure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.unsureAt = s.o.Clock.Now()
}

// doubtful says that the node was deleted while it had this stream, or not long before.
func (s *Session) doubtful(now spec.Time) bool {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	at := s.node.forgotAt
	return at != 0 && (s.opened <= at || now-s.opened >= doubtAge)
}
