package main

// guestOutputs are the bindings of the SDKs in languages other than Go.
var guestOutputs = []output{}
