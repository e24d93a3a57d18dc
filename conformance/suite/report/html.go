package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
)

//go:embed report.html.tmpl
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"of": func(laws []Law, profile string) []Law {
		var out []Law
		for _, l := range laws {
			if l.Profile == profile {
				out = append(out, l)
			}
		}
		return out
	},
	"join":  strings.Join,
	"class": func(s any) string { return strings.ReplaceAll(fmt.Sprint(s), " ", "-") },
	"round": func(v float64) string { return fmt.Sprintf("%.4g", v) },
	"short": func(s string) string { return s[:min(len(s), 19)] },
}).Parse(page))

// HTML is the report as one page that needs nothing else: no scripts, no fonts, no
// links to anywhere.
func (r *Report) HTML() ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, r)
	return b.Bytes(), err
}
