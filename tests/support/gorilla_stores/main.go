// Changes one session that is kept on a server, as a Go application would: in the files
// of gorilla's FilesystemStore, or in Redis as boj/redistore lays it out.
//
//	stores files FOLDER SECRET COOKIE NAME VALUE
//	stores redis ADDRESS SECRET COOKIE NAME VALUE
//
// Prints the values as JSON, and the cookie. Without a NAME it only reads.
package main

import (
	"bufio"
	"bytes"
	"encoding/base32"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

const name = "_buffalo_session"

func main() {
	kind, place, secret, cookie := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	var change []string
	if len(os.Args) > 5 {
		change = os.Args[5:7]
	}
	if kind == "files" {
		files(place, secret, cookie, change)
	} else {
		redis(place, secret, cookie, change)
	}
}

func files(folder, secret, cookie string, change []string) {
	store := sessions.NewFilesystemStore(folder, []byte(secret))
	r := httptest.NewRequest("GET", "/", nil)
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: name, Value: cookie})
	}
	session, err := store.New(r, name)
	if cookie != "" {
		check(err)
	}
	if change != nil {
		session.Values[change[0]] = change[1]
		w := httptest.NewRecorder()
		check(store.Save(r, w, session))
		cookie = w.Result().Cookies()[0].Value
	}
	show(session.Values, cookie)
}

// What redistore does, with as much of Redis' protocol as that takes.
func redis(address, secret, cookie string, change []string) {
	codecs := securecookie.CodecsFromPairs([]byte(secret))
	connection, err := net.Dial("tcp", address)
	check(err)
	reader := bufio.NewReader(connection)
	values := map[interface{}]interface{}{}
	var id string
	if cookie == "" {
		key := securecookie.GenerateRandomKey(32)
		id = strings.TrimRight(base32.StdEncoding.EncodeToString(key), "=")
	} else {
		check(securecookie.DecodeMulti(name, cookie, &id, codecs...))
		data := ask(connection, reader, "GET", "session_"+id)
		check(gob.NewDecoder(bytes.NewReader(data)).Decode(&values))
	}
	if change != nil {
		values[change[0]] = change[1]
		var buffer bytes.Buffer
		check(gob.NewEncoder(&buffer).Encode(values))
		ask(connection, reader, "SETEX", "session_"+id, "2592000", buffer.String())
		cookie, err = securecookie.EncodeMulti(name, id, codecs...)
		check(err)
	}
	show(values, cookie)
}

func ask(w io.Writer, r *bufio.Reader, words ...string) []byte {
	fmt.Fprintf(w, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(w, "$%d\r\n%s\r\n", len(word), word)
	}
	line, err := r.ReadString('\n')
	check(err)
	length, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if line[0] != '$' || err != nil {
		return nil
	}
	data := make([]byte, length+2)
	_, err = io.ReadFull(r, data)
	check(err)
	return data[:length]
}

func show(values map[interface{}]interface{}, cookie string) {
	shown := map[string]string{}
	for key, value := range values {
		shown[fmt.Sprint(key)] = fmt.Sprintf("%T %v", value, value)
	}
	check(json.NewEncoder(os.Stdout).Encode([]interface{}{shown, cookie}))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
