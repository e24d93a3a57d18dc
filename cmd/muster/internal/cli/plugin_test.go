package cli

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTheNameOfTheFileSaysWhatPeopleType(t *testing.T) {
	for file, want := range map[string]string{
		"muster": Muster, "/usr/bin/muster": Muster, "./muster-dev": Muster, "cli.test": Muster,
		"kubectl-muster": Plugin, "krew/bin/kubectl-muster": Plugin, "kubectl-muster.exe": Plugin,
	} {
		if got := Program(file); got != want {
			t.Errorf("%s is %q", file, got)
		}
	}
}

// ours is one of our commands in a text, with the word before it.
var ours = regexp.MustCompile(`(\S+ )?\bmuster (check|completion|conformance|demo|doctor|explain|get|help|policy|scheduler|sim|top|version|COMMAND|--)`)

func TestThePluginSpeaksAsPeopleCallIt(t *testing.T) {
	said := 0
	root := (&app{program: Plugin}).root()
	everyCommand(root, func(c *cobra.Command) {
		if c.CommandPath() != Plugin && !strings.HasPrefix(c.CommandPath(), Plugin+" ") {
			t.Errorf("a command is called %q", c.CommandPath())
		}
		var out, errs bytes.Buffer
		args := strings.Fields(c.CommandPath())[2:]
		if code := RunAs(Plugin, append(args, "--help"), strings.NewReader(""), &out, &errs); code != 0 {
			t.Errorf("%s --help: exit code %d, %s", c.CommandPath(), code, errs.String())
		}
		for _, m := range ours.FindAllStringSubmatch(out.String(), -1) {
			said++
			if !strings.HasSuffix(m[1], "kubectl ") {
				t.Errorf("%s --help says %q", c.CommandPath(), m[0])
			}
		}
		if !strings.Contains(out.String(), "\n  "+c.CommandPath()) {
			t.Errorf("the usage of %s does not name it:\n%s", c.CommandPath(), out.String())
		}
	})
	if said < 150 {
		t.Errorf("commands are named %d times in all helps", said)
	}
}

func TestHintsOfThePluginNameItsCommands(t *testing.T) {
	for line, want := range map[string]string{
		"":                                    "\nUsage:\n  kubectl muster COMMAND\n",
		"polisy":                              "did you mean `kubectl muster policy`?",
		"policy inspect":                      "as in: kubectl muster policy inspect",
		"policy load x --nothing":             "`kubectl muster policy load --help` lists the flags",
		"policy status --at nowhere.yaml":     "ask it with --cluster",
		"get queues --server 127.0.0.1:1":     "start it with `kubectl muster scheduler`",
		"doctor --server 127.0.0.1:1":         "start it with `kubectl muster scheduler`",
		"policy rollback x --kubeconfig none": "--kubeconfig FILE names it",
		"policy rollback x --at a --cluster":  "leave one of them out",
		"policy load x.wasm --cluster --at y": "leave one of them out",
	} {
		t.Setenv("KUBECONFIG", "none")
		var out, errs bytes.Buffer
		RunAs(Plugin, strings.Fields(line), strings.NewReader(""), &out, &errs)
		if text := out.String() + errs.String(); !strings.Contains(text, want) {
			t.Errorf("%s: %s", line, text)
		}
	}
}

func TestOthersWordsStayAsTheyAre(t *testing.T) {
	a := &app{program: Plugin}
	for text, want := range map[string]string{
		"`muster policy status` says why":       "`kubectl muster policy status` says why",
		"source <(muster completion bash)":      "source <(kubectl muster completion bash)",
		"  muster demo\n  muster sim run talk2": "  kubectl muster demo\n  kubectl muster sim run talk2",
		"kubectl muster get jobs":               "kubectl muster get jobs",
		"`muster-probe check` on the node":      "`muster-probe check` on the node",
		"kubectl logs -n muster-system x":       "kubectl logs -n muster-system x",
		"bin/muster demo, muster.dev/queue":     "bin/muster demo, muster.dev/queue",
	} {
		if got := a.say(text); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	if got := (&app{}).say("`muster demo`"); got != "`muster demo`" {
		t.Errorf("muster itself says %q", got)
	}
}
