package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/runtime/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an API server that knows ann, who may read /api/*, and bob, who may not.
type server struct {
	away           bool
	tokens, access int // reviews asked
	audiences      []string
	asked          authorizationv1.SubjectAccessReviewSpec
}

func (s *server) authorizer(o Options) *Authorizer {
	api := &fake.Clientset{}
	api.AddReactor("create", "tokenreviews", func(act clienttesting.Action) (bool, runtime.Object, error) {
		s.tokens++
		if s.away {
			return true, nil, errors.New("away")
		}
		r := act.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		name := strings.TrimPrefix(r.Spec.Token, "token-of-")
		if name == "ann" || name == "bob" {
			r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: s.audiences, User: authenticationv1.UserInfo{
				Username: name, UID: "u", Groups: []string{"readers"}, Extra: map[string]authenticationv1.ExtraValue{"pod": {"p"}},
			}}
		}
		return true, r, nil
	})
	api.AddReactor("create", "subjectaccessreviews", func(act clienttesting.Action) (bool, runtime.Object, error) {
		s.access++
		if s.away {
			return true, nil, errors.New("away")
		}
		r := act.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		s.asked = r.Spec
		r.Status.Allowed = r.Spec.User == "ann" && r.Spec.NonResourceAttributes.Verb == "get" && strings.HasPrefix(r.Spec.NonResourceAttributes.Path, "/api/")
		if !r.Status.Allowed {
			r.Status.Reason = "no RBAC rule"
		}
		return true, r, nil
	})
	return New(api, o)
}

func TestRBACDecidesWhoMayReadWhat(t *testing.T) {
	s := &server{}
	a := s.authorizer(Options{})
	for _, c := range []struct {
		token, verb, path, user string
		allowed                 bool
	}{
		{"", "get", "/api/v1/jobs", "", false},
		{"two words", "get", "/api/v1/jobs", "", false},
		{"forged", "get", "/api/v1/jobs", "", false},
		{"token-of-bob", "get", "/api/v1/jobs", "bob", false},
		{"token-of-ann", "get", "/metrics", "ann", false},
		{"token-of-ann", "post", "/api/v1/jobs", "ann", false},
		{"token-of-ann", "get", "/api/v1/jobs", "ann", true},
	} {
		user, allowed, why, err := a.Authorize(t.Context(), c.token, c.verb, c.path)
		if user != c.user || allowed != c.allowed || err != nil || !allowed && why == "" {
			t.Errorf("%q %s %s: %q, %v, %q, %v", c.token, c.verb, c.path, user, allowed, why, err)
		}
	}
	if s.asked.UID != "u" || s.asked.Groups[0] != "readers" || s.asked.Extra["pod"][0] != "p" {
		t.Errorf("asked about %+v", s.asked)
	}
}

func TestATokenForAnotherAudienceIsNobodys(t *testing.T) {
	for audience, want := range map[string]string{"muster": "ann", "vault": "", "": ""} {
		s := &server{audiences: []string{audience}}
		user, _, _, err := s.authorizer(Options{Audiences: []string{"muster"}}).Authorize(t.Context(), "token-of-ann", "get", "/api/v1")
		if user != want || err != nil {
			t.Errorf("%q: %q, %v", audience, user, err)
		}
	}
}

func TestAnswersAreRememberedYesForAMinuteNoForSeconds(t *testing.T) {
	s, c := &server{}, clock.NewVirtual(0)
	a := s.authorizer(Options{Clock: c})
	ask := func(token string) bool {
		_, allowed, _, err := a.Authorize(t.Context(), token, "get", "/api/v1")
		if err != nil {
			t.Fatal(err)
		}
		return allowed
	}
	for range 10 {
		if !ask("token-of-ann") || ask("token-of-bob") || ask("forged") {
			t.Fatal("wrong")
		}
	}
	if s.tokens != 3 || s.access != 2 {
		t.Errorf("%d tokens and %d rights were asked about", s.tokens, s.access)
	}
	c.Advance(int64(6 * time.Second))
	ask("token-of-ann")
	ask("token-of-bob")
	ask("forged")
	if s.tokens != 4 || s.access != 3 { // the forged token; bob's right
		t.Errorf("after 6 s: %d tokens and %d rights", s.tokens, s.access)
	}
	c.Advance(int64(2 * time.Minute))
	if ask("token-of-ann"); s.tokens != 5 || s.access != 4 {
		t.Errorf("after 2 min: %d tokens and %d rights", s.tokens, s.access)
	}
}

func TestAnAPIServerThatIsAwayIsNoAnswerAndIsNotRemembered(t *testing.T) {
	s := &server{away: true}
	a := s.authorizer(Options{})
	if _, allowed, _, err := a.Authorize(t.Context(), "token-of-ann", "get", "/api/v1"); err == nil || allowed {
		t.Errorf("%v, %v", allowed, err)
	}
	s.away = false
	if _, allowed, _, err := a.Authorize(t.Context(), "token-of-ann", "get", "/api/v1"); err != nil || !allowed {
		t.Errorf("%v, %v", allowed, err)
	}
	s.away = true
	if _, allowed, _, err := a.Authorize(t.Context(), "token-of-ann", "get", "/api/v1/jobs"); err == nil || allowed {
		t.Errorf("a right that was not asked about before: %v, %v", allowed, err)
	}
}

func TestManyTokensDoNotFillTheMemory(t *testing.T) {
	s := &server{}
	a := s.authorizer(Options{Clock: clock.NewVirtual(0)})
	for i := range maxKept + 10 {
		if _, _, _, err := a.Authorize(t.Context(), fmt.Sprintf("forged-%d", i), "get", "/api/v1"); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.users) != maxKept {
		t.Errorf("%d are kept", len(a.users))
	}
}
