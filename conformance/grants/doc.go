// Package grants checks that a socket's behavior does not depend on what its
// [rxring.Grant] withholds. A test runs the same calls in two namespaces whose packets
// differ only in bytes, devices or packets outside the grant: everything that the socket
// returns must be equal.
package grants
