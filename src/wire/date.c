/* Timestamps as text: RFC 3339, HTTP and log forms, over the proleptic Gregorian calendar.
 * Calendar arithmetic counts years from March, so that the leap day is the last day of a year, and
 * in cycles of 400 years, which all have the same number of days. */
#include "wire/date.h"

enum {
    DAY_SECONDS = 24 * 60 * 60,
    YEAR_DAYS = 365,
    CENTURY_DAYS = 100 * YEAR_DAYS + 24,
    CYCLE_YEARS = 400,
    CYCLE_DAYS = 4 * CENTURY_DAYS + 1,
    EPOCH_DAYS = 719468, /* from 0000-03-01 to 1970-01-01 */
    YEAR_MAX = 9999,
    MONTHS = 12,
};

/* Days before each month of a year that begins in March. */
static const int days_before[MONTHS] = {0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337};

static const char month_names[MONTHS][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
/* 1970-01-01 was a Thursday. */
static const char day_names[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};

struct moment {
    int64_t year;
    int month, day, hour, minute, second; /* month and day from 1 */
    int weekday;                          /* index of day_names */
};

static int64_t divide_down(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % CYCLE_YEARS == 0);
}

/* Days from 1970-01-01; years 0 to YEAR_MAX. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year; /* the year that began in March */
    int64_t days = y * YEAR_DAYS + divide_down(y, 4) - divide_down(y, 100) + divide_down(y, 400);
    return days + days_before[(month + 9) % MONTHS] + day - 1 - EPOCH_DAYS;
}

/* day: from 0000-03-01. */
static void calendar_of(int64_t day, struct moment *ret)
{
    int64_t cycle = divide_down(day, CYCLE_DAYS);
    int64_t in_cycle = day - cycle * CYCLE_DAYS;
    /* Take out the leap days that are over, then years are equally long. */
    int64_t year = (in_cycle - in_cycle / (4 * YEAR_DAYS) + in_cycle / CENTURY_DAYS -
                    in_cycle / (CYCLE_DAYS - 1)) /
                   YEAR_DAYS;
    int in_year = (int)(in_cycle - (year * YEAR_DAYS + year / 4 - year / 100));
    int month = MONTHS - 1;
    while (days_before[month] > in_year) {
        month--;
    }
    ret->day = in_year - days_before[month] + 1;
    ret->month = (month + 2) % MONTHS + 1;
    ret->year = cycle * CYCLE_YEARS + year + (ret->month <= 2);
}

/* False when the year has not four digits. */
static bool moment_of(int64_t seconds, struct moment *ret)
{
    int64_t day = divide_down(seconds, DAY_SECONDS);
    if (day < days_of(0, 1, 1) || day > days_of(YEAR_MAX, MONTHS, 31)) {
        return false;
    }
    int in_day = (int)(seconds - day * DAY_SECONDS);
    calendar_of(day + EPOCH_DAYS, ret);
    ret->hour = in_day / 3600;
    ret->minute = in_day / 60 % 60;
    ret->second = in_day % 60;
    ret->weekday = (int)(day - divide_down(day, 7) * 7);
    return true;
}

/* ---- reading ---- */

/* Exactly n digits at *text, not over max. */
static bool number_take(struct str *text, size_t n, uint64_t max, int *ret)
{
    uint64_t value;
    if (text->n < n || !str_to_u64(str_first(*text, n), max, &value)) {
        return false;
    }
    *ret = (int)value;
    *text = str_from(*text, n);
    return true;
}

static bool char_take(struct str *text, char c)
{
    if (text->n == 0 || text->p[0] != c) {
        return false;
    }
    *text = str_from(*text, 1);
    return true;
}

static bool day_take(struct str *text, int64_t *ret_days)
{
    static const int month_days[MONTHS] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!number_take(text, 4, YEAR_MAX, &year) || !char_take(text, '-') ||
        !number_take(text, 2, MONTHS, &month) || month == 0 || !char_take(text, '-') ||
        !number_take(text, 2, 31, &day) || day == 0 ||
        day > month_days[month - 1] + (month == 2 && is_leap(year))) {
        return false;
    }
    *ret_days = days_of(year, month, day);
    return true;
}

/* The fraction is read and dropped. */
static bool time_take(struct str *text, int *ret_seconds)
{
    int hour, minute, second, digit;
    if (!number_take(text, 2, 23, &hour) || !char_take(text, ':') ||
        !number_take(text, 2, 59, &minute) || !char_take(text, ':') ||
        !number_take(text, 2, 59, &second)) { /* no leap seconds: Kubernetes has none either */
        return false;
    }
    if (char_take(text, '.')) {
        if (!number_take(text, 1, 9, &digit)) {
            return false;
        }
        while (number_take(text, 1, 9, &digit)) {
        }
    }
    *ret_seconds = hour * 3600 + minute * 60 + second;
    return true;
}

/* RFC 3339 section 5.6: "Z" or "+hh:mm" or "-hh:mm". */
static bool offset_take(struct str *text, int *ret_seconds)
{
    int hour, minute, sign = 1;
    if (char_take(text, 'Z')) {
        *ret_seconds = 0;
        return true;
    }
    if (char_take(text, '-')) {
        sign = -1;
    } else if (!char_take(text, '+')) {
        return false;
    }
    if (!number_take(text, 2, 23, &hour) || !char_take(text, ':') ||
        !number_take(text, 2, 59, &minute)) {
        return false;
    }
    *ret_seconds = sign * (hour * 3600 + minute * 60);
    return true;
}

enum err date_parse_rfc3339(struct str text, int64_t *ret_seconds)
{
    int64_t days;
    int seconds, offset;
    if (!day_take(&text, &days) || !char_take(&text, 'T') || !time_take(&text, &seconds) ||
        !offset_take(&text, &offset) || text.n > 0) {
        return E_PROTO;
    }
    *ret_seconds = days * DAY_SECONDS + seconds - offset;
    return E_OK;
}

/* ---- writing ---- */

static void two_digits(struct wr *w, int value)
{
    wr_char(w, (char)('0' + value / 10));
    wr_char(w, (char)('0' + value % 10));
}

static void four_digits(struct wr *w, int64_t value)
{
    two_digits(w, (int)value / 100);
    two_digits(w, (int)value % 100);
}

static void time_emit(struct wr *w, const struct moment *m)
{
    two_digits(w, m->hour);
    wr_char(w, ':');
    two_digits(w, m->minute);
    wr_char(w, ':');
    two_digits(w, m->second);
}

void date_emit_rfc3339(struct wr *w, int64_t seconds)
{
    struct moment m;
    if (!moment_of(seconds, &m)) {
        w->bad = true;
        return;
    }
    four_digits(w, m.year);
    wr_char(w, '-');
    two_digits(w, m.month);
    wr_char(w, '-');
    two_digits(w, m.day);
    wr_char(w, 'T');
    time_emit(w, &m);
    wr_char(w, 'Z');
}

void date_emit_http(struct wr *w, int64_t seconds)
{
    struct moment m;
    if (!moment_of(seconds, &m)) {
        w->bad = true;
        return;
    }
    wr_bytes(w, day_names[m.weekday], 3);
    wr_str(w, STR(", "));
    two_digits(w, m.day);
    wr_char(w, ' ');
    wr_bytes(w, month_names[m.month - 1], 3);
    wr_char(w, ' ');
    four_digits(w, m.year);
    wr_char(w, ' ');
    time_emit(w, &m);
    wr_str(w, STR(" GMT"));
}

void date_emit_log(struct wr *w, int64_t seconds)
{
    struct moment m;
    if (!moment_of(seconds, &m)) {
        w->bad = true;
        return;
    }
    two_digits(w, m.day);
    wr_char(w, '/');
    wr_bytes(w, month_names[m.month - 1], 3);
    wr_char(w, '/');
    four_digits(w, m.year);
    wr_char(w, ':');
    time_emit(w, &m);
    wr_str(w, STR(" +0000"));
}
