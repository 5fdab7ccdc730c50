// The Buffalo side: it logs in and out, and has a page of its own.
//
// A Buffalo application keeps its session with gorilla/sessions under the secret in
// SESSION_SECRET. So does this one, without the rest of the framework: its Session has
// the methods of Buffalo's.
package main

import (
	"encoding/gob"
	"encoding/json"
	"html/template"
	"log"
	"net/http"
	"os"

	"github.com/gorilla/sessions"
)

// What Buffalo keeps its flash messages under.
const flashKey = "_flash_"

// Session is what Buffalo calls c.Session().
type Session struct {
	session *sessions.Session
	w       http.ResponseWriter
	r       *http.Request
}

func (s *Session) Get(name interface{}) interface{} { return s.session.Values[name] }

func (s *Session) GetOnce(name interface{}) interface{} {
	value := s.Get(name)
	s.Delete(name)
	return value
}

func (s *Session) Set(name, value interface{}) { s.session.Values[name] = value }

func (s *Session) Delete(name interface{}) { delete(s.session.Values, name) }

func (s *Session) Clear() {
	for name := range s.session.Values {
		s.Delete(name)
	}
}

func (s *Session) Save() error { return s.session.Save(s.r, s.w) }

// AddFlash is c.Flash().Add.
func (s *Session) AddFlash(kind, message string) {
	flash := s.flash()
	flash[kind] = append(flash[kind], message)
	text, err := json.Marshal(flash)
	if err != nil {
		log.Fatal(err)
	}
	s.Set(flashKey, text)
}

// TakeFlash hands out all messages, once.
func (s *Session) TakeFlash() map[string][]string {
	flash := s.flash()
	s.Delete(flashKey)
	return flash
}

func (s *Session) flash() map[string][]string {
	flash := map[string][]string{}
	if text, ok := s.Get(flashKey).([]byte); ok {
		if err := json.Unmarshal(text, &flash); err != nil {
			log.Print(err)
		}
	}
	return flash
}

type handler func(s *Session)

func main() {
	// The cart is a dict on the Flask side, so this type has to be known here.
	gob.Register(map[string]interface{}{})
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_SECRET")))
	store.Options.SameSite = http.SameSiteLaxMode
	store.Options.HttpOnly = true

	handle := func(path string, act handler) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			// A cookie that does not verify is a new session.
			session, _ := store.Get(r, os.Getenv("SESSION_NAME"))
			act(&Session{session, w, r})
		})
	}
	handle("/login", login)
	handle("/logout", logout)
	handle("/account", account)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("GO_PORT"), nil))
}

func login(s *Session) {
	s.Set("current_user_id", s.r.FormValue("name"))
	s.AddFlash("success", "Welcome, "+s.r.FormValue("name")+", says Go.")
	s.redirect("/")
}

func logout(s *Session) {
	s.Clear()
	s.AddFlash("success", "Goodbye, says Go.")
	s.redirect("/")
}

func (s *Session) redirect(path string) {
	if err := s.Save(); err != nil {
		http.Error(s.w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(s.w, s.r, path, http.StatusSeeOther)
}

func account(s *Session) {
	data := map[string]interface{}{
		"User":  s.Get("current_user_id"),
		"Cart":  s.Get("cart"),
		"Flash": s.TakeFlash(),
	}
	if s.r.FormValue("add") == "flash" {
		s.AddFlash("info", "A message that Go left, for Flask to show.")
	}
	if err := s.Save(); err != nil {
		http.Error(s.w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(s.w, data); err != nil {
		log.Print(err)
	}
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Your account</title>
<link rel="stylesheet" href="/static/style.css">
<main class="go">
<p class="served">This page is served by Go</p>
<h1>Your account</h1>
{{range $kind, $messages := .Flash}}{{range $messages}}
<p class="flash" id="flash">{{.}}</p>{{end}}{{end}}
<p>You are <strong id="user">{{if .User}}{{.User}}{{else}}nobody{{end}}</strong>.</p>
<table id="cart">{{range $sku, $count := .Cart}}
<tr><th>{{$sku}}<td>{{$count}}{{else}}
<tr><td>Nothing in the cart.{{end}}
</table>
<form method="post"><button name="add" value="flash">Leave a message for Flask</button></form>
<p><a href="/">To the shop, served by Flask</a></p>
</main>
`))
