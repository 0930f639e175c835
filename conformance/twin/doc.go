// Package twin compares sockets of rxring with sockets of the running kernel, feature by
// feature: rings, options, memberships, fanout, sending.
//
// Each test has a device in a private network namespace of the kernel and its twin in a
// namespace of rxring. Both get the same packets and calls; return values, errnos and every
// byte of their rings must be equal, times apart. Package conformance does the same with
// generated scripts.
package twin
