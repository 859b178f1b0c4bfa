/* Judges requests before anything is stored or started. See README.md. */
#include <stdio.h>

#include "json.h"
#include "validator.h"

#define SCHEMA \
    "{\"type\":\"object\",\"properties\":{\"max_prompt_length\":{\"type\":\"integer\",\"minimum\":1," \
    "\"default\":10000}},\"additionalProperties\":false}"

static text of(validator_string_t string) {
    return (text){(const char *)string.ptr, string.len};
}

/* Characters, not bytes, of UTF-8. */
static uint64_t characters(text words) {
    uint64_t count = 0;
    for (size_t i = 0; i < words.len; i++) count += (words.at[i] & 0xc0) != 0x80;
    return count;
}

void exports_gatehouse_plugin_about_describe(exports_gatehouse_plugin_about_description_t *ret) {
    validator_string_dup(&ret->name, "{{name}}");
    validator_string_dup(&ret->version, "0.1.0");
    validator_string_dup(&ret->summary, "Refuses prompts that are too long.");
    validator_string_dup(&ret->settings_schema, SCHEMA);
}

/* What the schema cannot say: false, with the words in err, refuses settings. */
bool exports_gatehouse_plugin_about_check_settings(validator_string_t *settings, validator_string_t *err) {
    (void)settings;
    (void)err;
    return true;
}

/* False, with the words in err, counts as a refusal, unless the operator says otherwise. */
bool exports_gatehouse_plugin_validation_validate(exports_gatehouse_plugin_validation_own_task_t owned,
                                                  exports_gatehouse_plugin_validation_verdict_t *ret,
                                                  validator_string_t *err) {
    (void)err;
    gatehouse_plugin_tasks_borrow_task_t task = gatehouse_plugin_tasks_borrow_task(owned);
    validator_string_t string;
    text member;
    uint64_t most = 10000;

    gatehouse_plugin_host_settings(&string);
    if (json_member(of(string), "max_prompt_length", &member) && !json_number(member, &most)) {
        validator_string_dup(err, "max_prompt_length: expected a number");
        return false;
    }
    gatehouse_plugin_tasks_method_task_prompt(task, &string);
    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_VALIDATION_VERDICT_ACCEPT;
    if (characters(of(string)) <= most) return true;

    validator_string_set(&string, "max_prompt_length");
    gatehouse_plugin_host_cite(&string);
    char message[80];
    snprintf(message, sizeof message, "The prompt may have at most %llu characters.", (unsigned long long)most);
    exports_gatehouse_plugin_validation_rejection_t *rejection = &ret->val.reject;
    ret->tag = EXPORTS_GATEHOUSE_PLUGIN_VALIDATION_VERDICT_REJECT;
    validator_string_dup(&rejection->code, "prompt-too-long");
    validator_string_dup(&rejection->message, message);
    rejection->field.is_some = true;
    validator_string_dup(&rejection->field.val, "prompt");
    rejection->details.is_some = false;
    return true;
}
