// Package suggest finds the known word nearest to a misspelled one.
package suggest

import (
	"fmt"
	"strings"
)

// Closest returns the word that is most like text, if one is like it: up to two letters
// are wrong, missing, too many or swapped with their neighbours, one in a word of up to
// three letters.
func Closest(text string, words []string) (string, bool) {
	best, least := "", 3
	if len(text) <= 3 {
		least = 2
	}
	for _, w := range words {
		if d := distance(text, w); d < least {
			best, least = w, d
		}
	}
	return best, best != ""
}

// DidYouMean is "did you mean WORD? " for the closest word, or "".
func DidYouMean(text string, words []string) string {
	if w, ok := Closest(text, words); ok {
		return fmt.Sprintf("did you mean %s? ", w)
	}
	return ""
}

// mostListed is how many words a message lists.
const mostListed = 4

// Among says which words there are, and which of them is most like text: "did you mean
// eth0? there are eth0, lo, wg0, wg1 and 3 more".
func Among(text string, words []string) string {
	switch len(words) {
	case 0:
		return "there is none"
	case 1:
		return "there is " + words[0]
	}
	return DidYouMean(text, words) + "there are " + List(words)
}

// List is "a", "a and b", "a, b, c and d", or "a, b, c, d and 3 more".
func List(words []string) string {
	n := len(words)
	switch {
	case n > mostListed:
		return fmt.Sprintf("%s and %d more", strings.Join(words[:mostListed], ", "), n-mostListed)
	case n > 1:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// Or lists all words: "a", "a or b", "a, b or c".
func Or(words []string) string {
	n := len(words)
	if n < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
}

// distance counts the edits that make b of a: the optimal string alignment distance.
func distance(a, b string) int {
	var before []int // the row before the one before
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			differs := 1
			if a[i] == b[j] {
				differs = 0
			}
			row[j+1] = min(last[j]+differs, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
