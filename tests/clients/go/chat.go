// Streams a chat by Go's net/http, and writes what comes as it comes.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	body := `{"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}`
	request, err := http.NewRequest("POST", "https://api.openai.com/v1/chat/completions", strings.NewReader(body))
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+os.Args[1])
		request.Header.Set("Content-Type", "application/json")
		var reply *http.Response
		if reply, err = http.DefaultClient.Do(request); err == nil {
			_, err = io.Copy(os.Stdout, reply.Body)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
