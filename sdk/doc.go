// Package sdk holds the SDKs of the guests' side as files, so that muster policy new
// writes a complete project from the command alone, offline: a template for each
// language, with the SDK's own sources beside it. The SDKs themselves live in the folders
// below, one for each language; hostabi/abi.md is what they have in common.
package sdk
