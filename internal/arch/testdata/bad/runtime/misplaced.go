// Package misplaced would be named runtime by its folder.
package misplaced
