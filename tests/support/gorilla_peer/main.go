// The other side of the tests: a program with the real gorilla/sessions. It reads
// one request a line from its standard input, JSON, and answers with one line.
//
// A value is a node: its Go type, as %T prints it, and its content. Numbers are in
// decimal, floats the hexadecimal of their bits, strings and bytes base64; slices
// are lists of nodes, maps lists of pairs of nodes, structs of names and nodes.
//
// With the argument "bare" it registers nothing of its own.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strconv"
	"time"

	"github.com/gofrs/uuid"
	uuid5 "github.com/gofrs/uuid/v5"
	"github.com/gorilla/sessions"
)

type Address struct {
	Street string
	Zip    int
}

type Person struct {
	Name    string
	Age     uint8
	UserID  int64
	Tags    []string
	Home    Address
	Friends map[string]int32
	Boss    *Person
	Score   float32
	Born    time.Time
	Extra   interface{}
}

type Color string
type Level uint8
type Celsius float32
type Grid [3]int16

// Money is a GobEncoder.
type Money struct{ cents int64 }

func (m Money) GobEncode() ([]byte, error) { return []byte(strconv.FormatInt(m.cents, 10)), nil }

func (m *Money) GobDecode(data []byte) (err error) {
	m.cents, err = strconv.ParseInt(string(data), 10, 64)
	return err
}

// Label is a BinaryMarshaler.
type Label struct{ text string }

func (l Label) MarshalBinary() ([]byte, error) { return []byte("<" + l.text + ">"), nil }

func (l *Label) UnmarshalBinary(data []byte) error {
	l.text = string(data[1 : len(data)-1])
	return nil
}

var registered = []interface{}{
	Address{}, &Person{}, Color(""), Level(0), Celsius(0), Grid{}, Money{}, Label{},
	time.Time{}, uuid.UUID{}, []time.Time{}, []Address{}, []Money{},
	map[string]interface{}{}, map[interface{}]interface{}{}, map[string]string{},
	map[string]int{}, map[int8]uint16{}, map[Address]bool{}, map[string][]string{},
}

var basic = []interface{}{
	int(0), int8(0), int16(0), int32(0), int64(0), uint(0), uint8(0), uint16(0),
	uint32(0), uint64(0), uintptr(0), float32(0), float64(0), complex64(0),
	complex128(0), false, "", []byte{}, []int{}, []int8{}, []int64{}, []uint16{},
	[]float32{}, []float64{}, []bool{}, []string{}, []complex128{}, []interface{}{},
}

var types = map[string]reflect.Type{}

type node struct {
	Type  string      `json:"t"`
	Value interface{} `json:"v"`
}

type request struct {
	Op     string
	Name   string
	Keys   []*string
	Cookie string
	Values [][2]node
}

type answer struct {
	Error  string    `json:"error,omitempty"`
	Cookie string    `json:"cookie,omitempty"`
	Values [][2]node `json:"values"`
}

func shown(v reflect.Value) node {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return node{Type: "nil"}
	}
	n := node{Type: v.Type().String()}
	switch special := v.Interface().(type) {
	case time.Time:
		n.Value = special.Format(time.RFC3339Nano)
		return n
	case uuid.UUID:
		n.Value = special.String()
		return n
	case uuid5.UUID:
		n.Type, n.Value = "uuid5.UUID", special.String()
		return n
	case Money:
		n.Value = strconv.FormatInt(special.cents, 10)
		return n
	case Label:
		n.Value = special.text
		return n
	}
	switch v.Kind() {
	case reflect.Bool:
		n.Value = v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n.Value = strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n.Value = strconv.FormatUint(v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		n.Value = bits(v.Float())
	case reflect.Complex64, reflect.Complex128:
		n.Value = []interface{}{bits(real(v.Complex())), bits(imag(v.Complex()))}
	case reflect.String:
		n.Value = base64.StdEncoding.EncodeToString([]byte(v.String()))
	case reflect.Ptr:
		if !v.IsNil() {
			n.Value = shown(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		if v.Type() == reflect.TypeOf([]byte{}) {
			n.Value = base64.StdEncoding.EncodeToString(v.Bytes())
			break
		}
		list := []node{}
		for i := 0; i < v.Len(); i++ {
			list = append(list, shown(v.Index(i)))
		}
		n.Value = list
	case reflect.Map:
		pairs := [][2]node{}
		for _, key := range v.MapKeys() {
			pairs = append(pairs, [2]node{shown(key), shown(v.MapIndex(key))})
		}
		n.Value = pairs
	case reflect.Struct:
		fields := [][2]interface{}{}
		for i := 0; i < v.NumField(); i++ {
			fields = append(fields, [2]interface{}{v.Type().Field(i).Name, shown(v.Field(i))})
		}
		n.Value = fields
	}
	return n
}

func bits(f float64) string { return strconv.FormatUint(math.Float64bits(f), 16) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// made fills v with the content of a node of its type.
func made(v reflect.Value, n map[string]interface{}) {
	content := n["v"]
	if v.Kind() == reflect.Interface {
		if n["t"] == "nil" {
			return
		}
		inner, ok := types[n["t"].(string)]
		if !ok {
			panic("no such type: " + n["t"].(string))
		}
		elem := reflect.New(inner).Elem()
		made(elem, n)
		v.Set(elem)
		return
	}
	switch pointer := v.Addr().Interface().(type) {
	case *time.Time:
		moment, err := time.Parse(time.RFC3339Nano, content.(string))
		must(err)
		*pointer = moment
		return
	case *uuid.UUID:
		*pointer = uuid.FromStringOrNil(content.(string))
		return
	case *Money:
		must(pointer.GobDecode([]byte(content.(string))))
		return
	case *Label:
		pointer.text = content.(string)
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(content.(bool))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(content.(string), 10, 64)
		must(err)
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		u, err := strconv.ParseUint(content.(string), 10, 64)
		must(err)
		v.SetUint(u)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float(content))
	case reflect.Complex64, reflect.Complex128:
		parts := content.([]interface{})
		v.SetComplex(complex(float(parts[0]), float(parts[1])))
	case reflect.String:
		v.SetString(string(unbase64(content)))
	case reflect.Ptr:
		if content != nil {
			v.Set(reflect.New(v.Type().Elem()))
			made(v.Elem(), content.(map[string]interface{}))
		}
	case reflect.Slice, reflect.Array:
		if v.Type() == reflect.TypeOf([]byte{}) {
			v.SetBytes(unbase64(content))
			return
		}
		list := content.([]interface{})
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		}
		for i, item := range list {
			made(v.Index(i), item.(map[string]interface{}))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, pair := range content.([]interface{}) {
			key := reflect.New(v.Type().Key()).Elem()
			made(key, pair.([]interface{})[0].(map[string]interface{}))
			elem := reflect.New(v.Type().Elem()).Elem()
			made(elem, pair.([]interface{})[1].(map[string]interface{}))
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for _, field := range content.([]interface{}) {
			pair := field.([]interface{})
			made(v.FieldByName(pair[0].(string)), pair[1].(map[string]interface{}))
		}
	default:
		panic("cannot make a " + v.Type().String())
	}
}

func float(content interface{}) float64 {
	u, err := strconv.ParseUint(content.(string), 16, 64)
	must(err)
	return math.Float64frombits(u)
}

func unbase64(content interface{}) []byte {
	data, err := base64.StdEncoding.DecodeString(content.(string))
	must(err)
	return data
}

func value(n node) interface{} {
	var v interface{}
	made(reflect.ValueOf(&v).Elem(), map[string]interface{}{"t": n.Type, "v": n.Value})
	return v
}

// keys are base64; null is a pair without a block key.
func keys(r request) (pairs [][]byte) {
	for _, key := range r.Keys {
		if key == nil {
			pairs = append(pairs, nil)
		} else {
			pairs = append(pairs, unbase64(*key))
		}
	}
	return pairs
}

func handle(r request) (a answer) {
	defer func() {
		if problem := recover(); problem != nil {
			a = answer{Error: fmt.Sprint(problem)}
		}
	}()
	store := sessions.NewCookieStore(keys(r)...)
	http1 := httptest.NewRequest("GET", "/", nil)
	if r.Op == "decode" {
		http1.AddCookie(&http.Cookie{Name: r.Name, Value: r.Cookie})
	}
	session, err := store.Get(http1, r.Name)
	must(err)
	if r.Op == "decode" {
		if session.IsNew {
			panic("a new session")
		}
		for key, held := range session.Values {
			pair := [2]node{shown(reflect.ValueOf(&key).Elem()), shown(reflect.ValueOf(&held).Elem())}
			a.Values = append(a.Values, pair)
		}
		return a
	}
	for _, pair := range r.Values {
		session.Values[value(pair[0])] = value(pair[1])
	}
	recorder := httptest.NewRecorder()
	must(session.Save(http1, recorder))
	a.Cookie = recorder.Result().Cookies()[0].Value
	return a
}

func main() {
	for _, v := range append(basic, registered...) {
		types[reflect.TypeOf(v).String()] = reflect.TypeOf(v)
	}
	types["main.Person"] = reflect.TypeOf(Person{})
	if len(os.Args) < 2 || os.Args[1] != "bare" {
		for _, v := range registered {
			gob.Register(v)
		}
		gob.Register(uuid5.UUID{})
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var r request
		must(json.Unmarshal(lines.Bytes(), &r))
		must(out.Encode(handle(r)))
	}
}
