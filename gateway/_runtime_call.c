/* The extension gateway._runtime_call: functions of WebAssembly as Python callables.
 *
 * The calls of cffi convert each argument in about 20 ns, to which a Python function that checks for traps would add as
 * much again. A TypedCall knows its signature, takes its arguments from where Python has them, and asks Python code
 * (`settle`) only when a call failed. It holds addresses that gateway/wasm.py gives it; it is closed before they
 * go. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <structmember.h>

#include "wr.h"

enum { PARAMS_MAX = 16 };

typedef wr_status (*call_fn)(wr_exec *exec, const wr_func *func, const wr_slot *args, wr_slot *results);
typedef void (*limit_fn)(wr_exec *exec, uint64_t deadline_us, uint64_t fuel);

typedef struct typed_call {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *weak_references;
    PyObject *settle; /* settle(status) raises what the failed call is to raise */
    call_fn call;
    limit_fn limit;
    wr_exec *exec; /* NULL: closed */
    const wr_func *func;
    uint64_t deadline_us, fuel;
    Py_ssize_t param_count;
    uint8_t params[PARAMS_MAX];
    uint8_t result; /* 0: none */
} typed_call;

/* Integers may be signed or unsigned, as everywhere in gateway/wasm.py. */
static bool put_integer(PyObject *value, uint8_t type, wr_slot *slot) {
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    slot->i64 = number;
    if (number == -1 && PyErr_Occurred()) return false;
    if (type == WR_TYPE_I32) {
        slot->u64 = (uint32_t)number;
        return overflow == 0 && number >= INT32_MIN && number <= (long long)UINT32_MAX;
    }
    if (overflow > 0) slot->u64 = PyLong_AsUnsignedLongLong(value);
    return overflow >= 0 && !PyErr_Occurred();
}

static bool put_real(PyObject *value, uint8_t type, wr_slot *slot) {
    double number = PyFloat_AsDouble(value);
    slot->f64 = number;
    if (number == -1 && PyErr_Occurred()) return false;
    if (type == WR_TYPE_F64) return true;
    slot->u64 = 0;
    slot->f32 = (float)number;
    return !isinf(slot->f32) || isinf(number);
}

static bool put(PyObject *value, uint8_t type, wr_slot *slot) {
    bool integer = type == WR_TYPE_I32 || type == WR_TYPE_I64;
    return integer ? put_integer(value, type, slot) : put_real(value, type, slot);
}

static PyObject *take(const wr_slot *slot, uint8_t type) {
    switch (type) {
    case WR_TYPE_I32: return PyLong_FromLong(slot->i32);
    case WR_TYPE_I64: return PyLong_FromLongLong(slot->i64);
    case WR_TYPE_F32: return PyFloat_FromDouble((double)slot->f32);
    case WR_TYPE_F64: return PyFloat_FromDouble(slot->f64);
    default: Py_RETURN_NONE;
    }
}

static PyObject *fail(const typed_call *self, wr_status status) {
    PyErr_Clear();
    PyObject *nothing = PyObject_CallFunction(self->settle, "i", (int)status);
    if (nothing == NULL) return NULL;
    Py_DECREF(nothing);
    PyErr_Format(PyExc_SystemError, "a call failed with status %d and nothing was raised", (int)status);
    return NULL;
}

static PyObject *run(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names) {
    const typed_call *self = (const typed_call *)object;
    wr_slot slots[PARAMS_MAX];
    bool fits = PyVectorcall_NARGS(flags) == self->param_count && (names == NULL || PyTuple_GET_SIZE(names) == 0);
    for (Py_ssize_t i = 0; fits && i < self->param_count; i++) fits = put(arguments[i], self->params[i], &slots[i]);
    if (self->exec == NULL) return fail(self, WR_BAD_STATE);
    if (!fits) return fail(self, WR_BAD_ARGUMENT);
    wr_status status;
    Py_BEGIN_ALLOW_THREADS self->limit(self->exec, self->deadline_us, self->fuel);
    status = self->call(self->exec, self->func, slots, slots);
    Py_END_ALLOW_THREADS return status == WR_OK ? take(&slots[0], self->result) : fail(self, status);
}

/* TypedCall(call, limit, exec, func, deadline_us, fuel, params, result, settle): addresses as integers, params as the
 * bytes of their types. */
static PyObject *make(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    unsigned long long call, limit, exec, func, deadline_us, fuel;
    const char *params;
    Py_ssize_t param_count;
    int result;
    PyObject *settle;
    if (names != NULL && PyDict_GET_SIZE(names) != 0) return PyErr_Format(PyExc_TypeError, "no keywords");
    if (!PyArg_ParseTuple(arguments, "KKKKKKy#iO", &call, &limit, &exec, &func, &deadline_us, &fuel, &params,
                          &param_count, &result, &settle))
        return NULL;
    if (param_count > PARAMS_MAX) return PyErr_Format(PyExc_ValueError, "at most %d parameters", PARAMS_MAX);
    typed_call *self = (typed_call *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->vectorcall = run;
    self->settle = Py_NewRef(settle);
    self->call = (call_fn)(uintptr_t)call;
    self->limit = (limit_fn)(uintptr_t)limit;
    self->exec = (wr_exec *)(uintptr_t)exec;
    self->func = (const wr_func *)(uintptr_t)func;
    self->deadline_us = deadline_us;
    self->fuel = fuel;
    self->param_count = param_count;
    memcpy(self->params, params, (size_t)param_count);
    self->result = (uint8_t)result;
    return (PyObject *)self;
}

static PyObject *close_call(PyObject *object, PyObject *nothing) {
    (void)nothing;
    ((typed_call *)object)->exec = NULL;
    Py_RETURN_NONE;
}

static void destroy(PyObject *object) {
    typed_call *self = (typed_call *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weak_references != NULL) PyObject_ClearWeakRefs(object);
    Py_DECREF(self->settle);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(typed_call, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(typed_call, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef methods[] = {
    {"close", close_call, METH_NOARGS, "From now on calls fail with BAD_STATE."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot type_slots[] = {
    {Py_tp_new, (void *)make},
    {Py_tp_dealloc, (void *)destroy},
    {Py_tp_call, (void *)PyVectorcall_Call},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {Py_tp_doc, "A function of WebAssembly; made by gateway.wasm.Func.typed."},
    {0, NULL},
};
static PyType_Spec type_spec = {
    "gateway._runtime_call.TypedCall",
    sizeof(typed_call),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    type_slots,
};

static int fill_module(PyObject *module) {
    PyObject *type = PyType_FromSpec(&type_spec);
    if (type == NULL) return -1;
    int status = PyModule_AddObjectRef(module, "TypedCall", type);
    Py_DECREF(type);
    return status;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)fill_module}, {0, NULL}};
static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "gateway._runtime_call", NULL, 0, NULL, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__runtime_call(void) { return PyModuleDef_Init(&module_definition); }
