// Package amount is at the bottom.
package amount
