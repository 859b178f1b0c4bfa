/* Denies command lines that download something and run a shell, and writes outside of the workspace. */
#include "json.h"
#include "tool_permission.h"

#define LIST(name, words) "\"" name "\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"default\":" words "}"
#define DOWNLOADERS "[\"curl\",\"wget\"]"
#define SHELLS "[\"sh\",\"bash\",\"dash\",\"zsh\"]"
#define SCHEMA \
    "{\"type\":\"object\",\"properties\":{" LIST("downloaders", DOWNLOADERS) "," LIST("shells", SHELLS) "," \
    LIST("writable", "[]") "},\"additionalProperties\":false}"

typedef tool_permission_string_t string;
typedef exports_gatehouse_plugin_tool_policy_decision_t decision;

/* Words before a command that are not it. */
static const char *const BEFORE[] = {"sudo", "env", "exec", "command", "nohup", "time", "xargs", "{",
                                     "!",    "if",  "then", "else",    "do",    "while", "until"};

static text of(string words) {
    return (text){(const char *)words.ptr, words.len};
}

static text literal(const char *words) {
    return (text){words, strlen(words)};
}

/* A text for the host, made of pieces. */
static string joined(const text *pieces, size_t count) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++) len += pieces[i].len;
    char *to = malloc(len + 1);
    if (!to) abort();
    string all = {(uint8_t *)to, len};
    for (size_t i = 0; i < count; i++) {
        memcpy(to, pieces[i].at, pieces[i].len);
        to += pieces[i].len;
    }
    return all;
}

static text setting(text settings, const char *name, const char *otherwise) {
    text list;
    return json_member(settings, name, &list) ? list : literal(otherwise);
}

static bool holds(text list, text name) {
    text item, word;
    for (size_t i = 0; json_next(list, &i, &item);) {
        if (json_string(item, &word) && text_equals(word, name)) return true;
    }
    return false;
}

static bool is_before(text word) {
    for (size_t i = 0; i < sizeof BEFORE / sizeof *BEFORE; i++) {
        if (text_is(word, BEFORE[i])) return true;
    }
    return false;
}

/* The name of the command that a piece of a command line begins with. */
static bool command(text piece, text *name) {
    for (size_t i = 0; i < piece.len; i++) {
        size_t start = i;
        while (i < piece.len && !memchr(" \t\r", piece.at[i], 3)) i++;
        text word = {piece.at + start, i - start};
        while (word.len && memchr("\"'", word.at[0], 2)) word.at++, word.len--;
        while (word.len && memchr("\"'", word.at[word.len - 1], 2)) word.len--;
        if (!word.len || word.at[0] == '-' || memchr(word.at, '=', word.len) || is_before(word)) continue;
        for (size_t n = word.len; n > 0; n--) {
            if (word.at[n - 1] == '/') {
                word = (text){word.at + n, word.len - n};
                break;
            }
        }
        *name = word;
        return true;
    }
    return false;
}

static void judge_line(text settings, text line, decision *ret) {
    text downloaders = setting(settings, "downloaders", DOWNLOADERS), shells = setting(settings, "shells", SHELLS);
    text downloader, shell, name;
    bool downloads = false, runs = false;
    for (size_t i = 0; i <= line.len; i++) {
        size_t start = i;
        while (i < line.len && !memchr("|;&()`\n", line.at[i], 7)) i++;
        if (!command((text){line.at + start, i - start}, &name)) continue;
        if (!downloads && holds(downloaders, name)) downloader = name, downloads = true;
        if (!runs && holds(shells, name)) shell = name, runs = true;
    }
    if (!downloads || !runs) return;
    string rule;
    tool_permission_string_set(&rule, "downloads");
    gatehouse_plugin_host_cite(&rule);
    text pieces[] = {literal("`"), downloader, literal("` and `"), shell,
                     literal("` in one command line: save the download and look at it before it is run.")};
    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_TOOL_POLICY_DECISION_DENY;
    ret->val.deny = joined(pieces, 5);
}

static bool below(text root, text path) {
    while (root.len && root.at[root.len - 1] == '/') root.len--;
    if (path.len < root.len || memcmp(path.at, root.at, root.len) != 0) return false;
    return path.len == root.len || path.at[root.len] == '/';
}

static void judge_write(text settings, text workspace, text path, decision *ret) {
    text writable = setting(settings, "writable", "[]"), item, root;
    if (below(workspace, path)) return;
    for (size_t i = 0; json_next(writable, &i, &item);) {
        if (json_string(item, &root) && below(root, path)) return;
    }
    string rule;
    tool_permission_string_set(&rule, "writes");
    gatehouse_plugin_host_cite(&rule);
    text pieces[] = {literal("`"), path, literal("` lies outside of the workspace.")};
    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_TOOL_POLICY_DECISION_DENY;
    ret->val.deny = joined(pieces, 3);
}

void exports_gatehouse_plugin_about_describe(exports_gatehouse_plugin_about_description_t *ret) {
    tool_permission_string_dup(&ret->name, "workspace-guard");
    tool_permission_string_dup(&ret->version, "0.1.0");
    tool_permission_string_dup(&ret->summary,
                               "Denies downloads that are run unseen, and writes outside of the workspace.");
    tool_permission_string_dup(&ret->settings_schema, SCHEMA);
}

bool exports_gatehouse_plugin_about_check_settings(string *settings, string *err) {
    text writable = setting(of(*settings), "writable", "[]"), item, path = {"", 0};
    for (size_t i = 0; json_next(writable, &i, &item);) {
        if (json_string(item, &path) && path.len && path.at[0] == '/') continue;
        text pieces[] = {literal("writable: `"), path, literal("` is not absolute")};
        *err = joined(pieces, 3);
        return false;
    }
    return true;
}

bool exports_gatehouse_plugin_tool_policy_decide(exports_gatehouse_plugin_tool_policy_own_task_t task,
                                                 exports_gatehouse_plugin_tool_policy_own_tool_call_t owned,
                                                 decision *ret, string *err) {
    (void)task;
    gatehouse_plugin_tool_calls_borrow_tool_call_t call = gatehouse_plugin_tool_calls_borrow_tool_call(owned);
    string tool, settings, words, root;
    text member, line;
    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_TOOL_POLICY_DECISION_ABSTAIN;
    gatehouse_plugin_host_settings(&settings);
    gatehouse_plugin_tool_calls_method_tool_call_tool(call, &tool);
    if (text_is(of(tool), "Bash")) {
        gatehouse_plugin_tool_calls_method_tool_call_input(call, &words);
        if (!json_member(of(words), "command", &member) || !json_string(member, &line)) {
            tool_permission_string_dup(err, "a Bash call without a command");
            return false;
        }
        judge_line(of(settings), line, ret);
        return true;
    }
    if (text_is(of(tool), "Write") || text_is(of(tool), "Edit") || text_is(of(tool), "MultiEdit") ||
        text_is(of(tool), "NotebookEdit")) {
        if (!gatehouse_plugin_tool_calls_method_tool_call_real_path(call, &words)) {
            tool_permission_string_dup(err, "a write without a path");
            return false;
        }
        gatehouse_plugin_tool_calls_method_tool_call_workspace(call, &root);
        judge_write(of(settings), of(root), of(words), ret);
    }
    return true;
}
