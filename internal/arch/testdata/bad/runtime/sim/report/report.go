// Package report is gonum's door.
package report

import _ "gonum.org/v1/plot"
