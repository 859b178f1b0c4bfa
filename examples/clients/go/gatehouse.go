// A client of Gatehouse that needs nothing but the standard library (Go 1.19).
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var gateway = os.Getenv("GATEHOUSE_URL")

type report struct {
	TaskID   string `json:"taskId"`
	Status   string `json:"status"`
	ExitCode int    `json:"exitCode"`
	Result   string `json:"result"`
	Error    string `json:"error"`
}

// problem is how every error is told.
type problem struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Text   string `json:"error"`
}

func (p problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Text) }

// ask sends until there is an answer; what the gateway refuses for good is not sent again.
func ask(method, path string, headers map[string]string, body []byte) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		response, err := send(method, path, headers, body)
		var failure problem
		permanent := errors.As(err, &failure) && failure.Status < 500 && failure.Status != 429
		if err == nil || permanent || attempt == 5 {
			return response, err
		}
		time.Sleep(time.Duration(attempt) * time.Second)
	}
}

func send(method, path string, headers map[string]string, body []byte) (*http.Response, error) {
	request, err := http.NewRequest(method, gateway+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	if key := os.Getenv("GATEHOUSE_API_KEY"); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		defer response.Body.Close()
		failure := problem{Status: response.StatusCode}
		_ = json.NewDecoder(response.Body).Decode(&failure)
		return nil, failure
	}
	return response, nil
}

// start starts a task. A key of its own makes the request safe to repeat: it starts one.
func start(path, prompt string, more map[string]any) (*http.Response, error) {
	request := map[string]any{"prompt": prompt, "anthropicApiKey": os.Getenv("ANTHROPIC_API_KEY")}
	for name, value := range more {
		request[name] = value
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	headers := map[string]string{"Content-Type": "application/json", "Idempotency-Key": hex.EncodeToString(key)}
	return ask("POST", path, headers, body)
}

type event struct{ name, id, data string }

// events hands over each event until one is wanted no more or the connection ends, in whatever way.
func events(stream io.ReadCloser, each func(event) bool) {
	defer stream.Close()
	reader := bufio.NewReader(stream)
	var next event
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			next.name = value
		case "id":
			next.id = value
		case "data":
			next.data += value
		case "":
			if next.data != "" && !each(next) {
				return
			}
			next = event{}
		}
	}
}

// run runs a task. Lines of the agent go to each, every one once.
func run(prompt string, each func(line string)) (report, error) {
	response, err := start("/run", prompt, nil)
	if err != nil {
		return report{}, err
	}
	id, last := response.Header.Get("X-Task-Id"), "0"
	for {
		var done *report
		events(response.Body, func(next event) bool {
			if next.name == "done" {
				done = new(report)
				err = json.Unmarshal([]byte(next.data), done)
				return false
			}
			if next.id != "" {
				last = next.id
				each(next.data)
			}
			return true
		})
		if done != nil {
			return *done, err
		}
		// Without done it was the connection that ended, not the task.
		fmt.Fprintln(os.Stderr, "reconnecting after event", last)
		time.Sleep(500 * time.Millisecond)
		response, err = ask("GET", "/tasks/"+id+"/events", map[string]string{"Last-Event-ID": last}, nil)
		if err != nil {
			return report{}, err
		}
	}
}

func isGenuine(secret string, header http.Header, body []byte) bool {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	age := time.Since(time.Unix(seconds, 0))
	if err != nil || age > 300*time.Second || age < -300*time.Second {
		return false
	}
	mac := func(key []byte, signed string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		mac.Write(body)
		return mac.Sum(nil)
	}
	key := []byte(secret)
	if encoded := strings.TrimPrefix(secret, "whsec_"); encoded != secret {
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return false
		}
	}
	// One family is enough; this shows both. During a change of secrets there are several of the first.
	expected := "v1," + base64.StdEncoding.EncodeToString(mac(key, id+"."+timestamp+"."))
	standard := false
	for _, given := range strings.Split(header.Get("webhook-signature"), " ") {
		standard = standard || hmac.Equal([]byte(given), []byte(expected))
	}
	legacy := "sha256=" + hex.EncodeToString(mac([]byte(secret), timestamp+"."))
	return standard && header.Get("X-Webhook-Timestamp") == timestamp &&
		hmac.Equal([]byte(header.Get("X-Webhook-Signature")), []byte(legacy))
}

// runAsync starts a task and waits for its webhook.
func runAsync(prompt string) (report, error) {
	reports := make(chan report, 1)
	receive := func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, 1<<20))
		// Verified as it came, and only then parsed.
		if err != nil || !isGenuine(os.Getenv("CLOUDRUN_CALLBACK_SECRET"), request.Header, body) {
			answer.WriteHeader(http.StatusUnauthorized)
			return
		}
		var received report
		if err := json.Unmarshal(body, &received); err != nil {
			answer.WriteHeader(http.StatusBadRequest)
			return
		}
		answer.WriteHeader(http.StatusNoContent)
		select {
		case reports <- received:
		default: // the same once more
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return report{}, err
	}
	server := &http.Server{Handler: http.HandlerFunc(receive)}
	go server.Serve(listener)
	url := "http://" + listener.Addr().String() + "/"
	fmt.Fprintln(os.Stderr, "receiving at", url)
	response, err := start("/run-async", prompt, map[string]any{"callbackUrl": url})
	if err != nil {
		return report{}, err
	}
	defer response.Body.Close()
	var accepted report
	if err := json.NewDecoder(response.Body).Decode(&accepted); err != nil {
		return report{}, err
	}
	fmt.Fprintln(os.Stderr, "started", accepted.TaskID)
	received := <-reports
	return received, server.Shutdown(context.Background())
}

func cancel(id string) error {
	response, err := ask("POST", "/cancel/"+id, nil, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct{ Message string }
	err = json.NewDecoder(response.Body).Decode(&answer)
	fmt.Println(answer.Message)
	return err
}

func say(line string) {
	var parsed struct {
		Type    string
		Message struct {
			Content []struct{ Type, Text string }
		}
	}
	if json.Unmarshal([]byte(line), &parsed) != nil || parsed.Type != "assistant" {
		return
	}
	for _, part := range parsed.Message.Content {
		if part.Type == "text" {
			fmt.Println(part.Text)
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gatehouse run PROMPT | run-async PROMPT | cancel TASK_ID")
		os.Exit(64)
	}
	if gateway == "" {
		gateway = "http://127.0.0.1:8080"
	}
	var ended report
	var err error
	switch os.Args[1] {
	case "run":
		ended, err = run(os.Args[2], say)
	case "run-async":
		ended, err = runAsync(os.Args[2])
	case "cancel":
		err = cancel(os.Args[2])
	default:
		err = errors.New("unknown command " + os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if ended.TaskID != "" {
		fmt.Printf("%s %s: %s%s\n", ended.TaskID, ended.Status, ended.Result, ended.Error)
		os.Exit(ended.ExitCode)
	}
}
