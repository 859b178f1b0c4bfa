/* Decides on every tool call of an agent before it runs. See README.md. */
#include "json.h"
#include "tool_permission.h"

#define SCHEMA \
    "{\"type\":\"object\",\"properties\":{\"denied_commands\":{\"type\":\"array\"," \
    "\"items\":{\"type\":\"string\",\"minLength\":1},\"default\":[\"curl\",\"wget\"]}}," \
    "\"additionalProperties\":false}"

static text of(tool_permission_string_t string) {
    return (text){(const char *)string.ptr, string.len};
}

/* A text for the host, made of three pieces. */
static tool_permission_string_t joined(const char *before, text middle, const char *after) {
    size_t head = strlen(before), tail = strlen(after);
    char *to = malloc(head + middle.len + tail + 1);
    if (!to) abort();
    memcpy(to, before, head);
    memcpy(to + head, middle.at, middle.len);
    memcpy(to + head + middle.len, after, tail);
    return (tool_permission_string_t){(uint8_t *)to, head + middle.len + tail};
}

/* The setting, or its default. */
static bool is_denied(text settings, text command) {
    text list, item, word;
    if (!json_member(settings, "denied_commands", &list)) {
        return text_is(command, "curl") || text_is(command, "wget");
    }
    for (size_t i = 0; json_next(list, &i, &item);) {
        if (json_string(item, &word) && text_equals(word, command)) return true;
    }
    return false;
}

void exports_gatehouse_plugin_about_describe(exports_gatehouse_plugin_about_description_t *ret) {
    tool_permission_string_dup(&ret->name, "{{name}}");
    tool_permission_string_dup(&ret->version, "0.1.0");
    tool_permission_string_dup(&ret->summary, "Denies Bash calls that begin with one of some commands.");
    tool_permission_string_dup(&ret->settings_schema, SCHEMA);
}

/* What the schema cannot say: false, with the words in err, refuses settings. */
bool exports_gatehouse_plugin_about_check_settings(tool_permission_string_t *settings, tool_permission_string_t *err) {
    (void)settings;
    (void)err;
    return true;
}

/* False counts as a denial, unless the operator says otherwise. */
bool exports_gatehouse_plugin_tool_policy_decide(exports_gatehouse_plugin_tool_policy_own_task_t task,
                                                 exports_gatehouse_plugin_tool_policy_own_tool_call_t owned,
                                                 exports_gatehouse_plugin_tool_policy_decision_t *ret,
                                                 tool_permission_string_t *err) {
    (void)task;
    gatehouse_plugin_tool_calls_borrow_tool_call_t call = gatehouse_plugin_tool_calls_borrow_tool_call(owned);
    tool_permission_string_t string;
    text member, command;

    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_TOOL_POLICY_DECISION_ABSTAIN;
    gatehouse_plugin_tool_calls_method_tool_call_tool(call, &string);
    if (!text_is(of(string), "Bash")) return true;

    gatehouse_plugin_tool_calls_method_tool_call_input(call, &string);
    if (!json_member(of(string), "command", &member) || !json_string(member, &command)) {
        tool_permission_string_dup(err, "a Bash call without a command");
        return false;
    }
    size_t start = json_spaces(command, 0), end = start;
    while (end < command.len && !strchr(" \t\r\n", command.at[end])) end++;
    text first = {command.at + start, end - start};

    gatehouse_plugin_host_settings(&string);
    if (!is_denied(of(string), first)) return true;
    string = joined("denied ", first, "");
    gatehouse_plugin_host_log(GATEHOUSE_PLUGIN_HOST_LEVEL_INFO, &string);
    tool_permission_string_set(&string, "denied_commands");
    gatehouse_plugin_host_cite(&string);
    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_TOOL_POLICY_DECISION_DENY;
    ret->val.deny = joined("`", first, "` is not allowed here.");
    return true;
}
