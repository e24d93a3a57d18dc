package config

import "fmt"

// DefaultText is the configuration that YuniKorn uses where nobody has written one, as for
// a ConfigMap without queues.yaml: each namespace has a queue of its own, and everybody may
// submit.
const DefaultText = `partitions:
  - name: default
    placementrules:
      - name: tag
        value: namespace
        create: true
    queues:
      - name: root
        submitacl: '*'
`

// DefaultUsed says what it means that the default is used, for an event or a log.
const DefaultUsed = "it configures no partition, so YuniKorn's default holds: each namespace has a queue of its own below root, without any quota, and everybody may submit"

// ParseOrDefault is Parse, but a text that has no partition (an empty one, or nothing but
// comments and other keys) stands for DefaultText; usedDefault tells that it does.
func ParseOrDefault(file string, text []byte) (f *File, usedDefault bool, problems Problems) {
	f, problems = Parse(file, text)
	if f == nil || len(f.Partitions) > 0 {
		return f, false, problems
	}
	f, _ = Parse(file, []byte(DefaultText))
	return f, true, problems
}

// Notes are what is worth knowing about a partition that is in order, each a part of a
// sentence about it.
func (p *Partition) Notes() []string {
	if p.Guarded {
		return nil
	}
	return []string{fmt.Sprintf("everybody may submit to every queue of partition %s, as none has a submitacl or adminacl", p.Name)}
}
