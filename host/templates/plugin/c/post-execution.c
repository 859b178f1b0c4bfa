/* Acts after the agent's run. See README.md. */
#include <stdio.h>

#include "json.h"
#include "post_execution.h"

static text of(post_execution_string_t string) {
    return (text){(const char *)string.ptr, string.len};
}

/* The option `patterns`: a list of at least one text. */
static bool patterns(text options, post_execution_list_string_t *list, post_execution_string_t *err) {
    text member, item, word;
    bool texts = json_member(options, "patterns", &member);
    list->ptr = calloc(options.len + 1, sizeof *list->ptr);
    if (!list->ptr) abort();
    list->len = 0;
    for (size_t i = 0; texts && json_next(member, &i, &item);) {
        texts = json_string(item, &word);
        if (texts) list->ptr[list->len++] = (post_execution_string_t){(uint8_t *)word.at, word.len};
    }
    if (texts && list->len > 0) return true;
    post_execution_string_dup(err, "patterns: expected a list of patterns such as \"**/*.txt\"");
    return false;
}

void exports_gatehouse_plugin_about_describe(exports_gatehouse_plugin_about_description_t *ret) {
    post_execution_string_dup(&ret->name, "{{name}}");
    post_execution_string_dup(&ret->version, "0.1.0");
    post_execution_string_dup(&ret->summary, "Counts the files that match some patterns.");
    post_execution_string_dup(&ret->settings_schema, "{\"type\":\"object\",\"additionalProperties\":false}");
}

bool exports_gatehouse_plugin_about_check_settings(post_execution_string_t *settings, post_execution_string_t *err) {
    (void)settings;
    (void)err;
    return true;
}

/* Called when the request comes in, so that a mistake is told at once. */
bool exports_gatehouse_plugin_post_action_check_options(post_execution_string_t *options, post_execution_string_t *err) {
    post_execution_list_string_t list;
    return patterns(of(*options), &list, err);
}

/* What is returned is reported under the action's name. */
bool exports_gatehouse_plugin_post_action_run(exports_gatehouse_plugin_post_action_own_task_t task,
                                              exports_gatehouse_plugin_post_action_own_outcome_t outcome,
                                              post_execution_string_t *options, post_execution_string_t *ret,
                                              post_execution_string_t *err) {
    (void)task;
    (void)outcome;
    post_execution_list_string_t list;
    gatehouse_plugin_workspace_list_entry_t files;
    gatehouse_plugin_workspace_failure_t failure;
    if (!patterns(of(*options), &list, err)) return false;
    if (!gatehouse_plugin_workspace_find(&list, &files, &failure)) {
        *err = failure.message;
        return false;
    }
    unsigned long long bytes = 0;
    for (size_t i = 0; i < files.len; i++) bytes += files.ptr[i].size;
    char value[80];
    snprintf(value, sizeof value, "{\"files\":%zu,\"bytes\":%llu}", files.len, bytes);
    post_execution_string_dup(ret, value);
    return true;
}
