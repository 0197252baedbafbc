{#
    Bring the copy of silver in schema staging up to date in one REPEATABLE READ transaction, before any model runs,
    so that all models of a run see the same silver while sinks go on writing. Only rows before `as_of` are copied,
    and no personal columns (email, name).

    The first time, and with --full-refresh, everything is copied. Else what has changed since: `ops_changes` says
    which keys, and since when. What that touches is noted in staging.affected_keys and the other tables of source
    `changes`, from which incremental models know which of their rows to make again. What was noted is kept until
    all models have been built from it, and all tests hold (`pipeline gold` says so in snapshot_run).

    Tables are filled, not dropped: the staging views stand on them. Unlogged: after a crash of the server they are
    empty, and the next run copies everything.

    dbt executes the whole text as one command, for which the driver has just begun a transaction.
#}
{% macro copy_silver() -%}
    {%- if execute and 'model.event_pipeline.stg_run' in selected_resources -%}
        set transaction isolation level repeatable read;
        {{ tables_of_changes() }}
        {% if flags.FULL_REFRESH %}truncate staging.snapshot_run;{% endif %}
        {{ begin_run() }}
        {% for table in silver_tables() %}
            {{ prepare_copy(table) }}
        {% endfor %}
        {% if flags.FULL_REFRESH %}
            {% for table in silver_tables() %}
                {{ copy_all(table) }}
            {% endfor %}
        {% else %}
            {{ copy_changed() }}
        {% endif %}
        {{ end_run() }}
        -- filled by `pipeline gold` before gold is built; without it, nothing is foreseen
        create unlogged table if not exists staging.customer_lifetimes (
            customer_id text primary key,
            p_alive double precision,
            order_days_12m double precision,
            ltv_12m numeric(18, 2)
        );
        commit;
    {%- endif -%}
{%- endmacro %}

{% macro tables_of_changes() -%}
    create unlogged table if not exists staging.snapshot_run ();
    {% for column, type in {
        'as_of': 'timestamptz',
        'copied_at': 'timestamptz',
        'to_xid': 'xid8',
        'as_of_before': 'timestamptz',
        'is_built': 'boolean not null default false',
        'pending_since': 'timestamptz',
        'project': 'text',
        'seeds': 'text',
    }.items() -%}
        alter table staging.snapshot_run add column if not exists {{ column }} {{ type }};
    {% endfor -%}
    create unlogged table if not exists staging.affected_keys (kind text, key text, primary key (kind, key));
    create unlogged table if not exists staging.affected_product_days (
        product_id text, day date, primary key (product_id, day)
    );
    create unlogged table if not exists staging.affected_sold_days (
        product_id text, day date, primary key (product_id, day)
    );
    create unlogged table if not exists staging.affected_minutes (
        service text, minute timestamptz, primary key (service, minute)
    );
    create unlogged table if not exists staging.later_facts (
        relation text, event_id uuid, happens_at timestamptz, primary key (relation, event_id)
    );
    create unlogged table if not exists staging.made_again (relation text primary key, condition text);
{%- endmacro %}

{#
    Note what this run sees, and what has changed since the one before.

    A transaction that was running at the last copy, or began later, has noted its changes under an xid from then on.
    Facts that it wrote carry the same transaction's time as those notes (both are now()), so the earliest of those
    times says from where on facts are new. Facts that were not before `as_of` then are in staging.later_facts.
#}
{% macro begin_run() -%}
    create temporary table run_before on commit drop as
    select as_of, to_xid, is_built, pending_since, project, seeds from staging.snapshot_run;
    truncate staging.snapshot_run, staging.made_again;
    insert into staging.snapshot_run (
        as_of, copied_at, to_xid, as_of_before, pending_since, project, seeds
    )
    select
        {% if var('as_of') %}'{{ var("as_of") }}'::timestamptz{% else %}now(){% endif %},
        now(),
        pg_snapshot_xmin(pg_current_snapshot()),
        coalesce((select as_of from run_before), '-infinity'),
        coalesce((select pending_since from run_before where not is_built), now()),
        (select project from run_before),
        (select seeds from run_before);
    create temporary table changes on commit drop as
    select kind, key, min(at) as at from {{ source('ops', 'ops_changes') }}
    where xid >= coalesce((select to_xid from run_before), '0'::xid8)
    group by kind, key;
    create temporary table new_since on commit drop as
    select min(at) as since from changes;
    do $$ begin
        if {{ 'true' if flags.FULL_REFRESH else 'false' }} or (select is_built from run_before) then
            truncate staging.affected_keys, staging.affected_product_days, staging.affected_sold_days,
                staging.affected_minutes;
        end if;
    end $$;
{%- endmacro %}

{# Note the facts that are not to be seen yet, and forget those that are. #}
{% macro end_run() -%}
    delete from staging.later_facts
    where {{ 'true' if flags.FULL_REFRESH else 'happens_at < (select as_of from staging.snapshot_run)' }};
    {% for table in silver_tables() if table.is_fact %}
        insert into staging.later_facts (relation, event_id, happens_at)
        select '{{ table.name }}', event_id, {{ table.instant }}
        from {{ source('silver', 'silver_' ~ table.name) }}
        where
            {{ table.instant }} >= (select as_of from staging.snapshot_run)
            {% if not flags.FULL_REFRESH %}and loaded_at >= (select since from new_since){% endif %}
        on conflict do nothing;
    {% endfor %}
    analyze staging.later_facts;
{%- endmacro %}

{% macro copy_name(table) -%}
    staging.snapshot_{{ table.name }}
{%- endmacro %}

{% macro prepare_copy(table) -%}
    create unlogged table if not exists {{ copy_name(table) }} ();
    {% for column, type in table.columns.items() -%}
        alter table {{ copy_name(table) }} add column if not exists {{ column }} {{ type }};
    {% endfor -%}
    alter table {{ copy_name(table) }} add column if not exists copied_at timestamptz default now();
{%- endmacro %}

{% macro index_name(table, columns) -%}
    snapshot_{{ table.name }}_{{ columns | replace(', ', '_') }}_idx
{%- endmacro %}

{# What a copy is looked up by: of facts, the first is unique; what is new lies together. #}
{% macro index_copy(table) -%}
    {% for name, columns in table.indexes.items() %}
        create {{ 'unique ' if loop.first and table.is_fact }}index {{ index_name(table, name) }}
        on {{ copy_name(table) }} ({{ columns or name }});
    {% endfor %}
    create index {{ index_name(table, 'copied_at') }} on {{ copy_name(table) }} using brin (copied_at);
{%- endmacro %}

{% macro copy_all(table) -%}
    truncate {{ copy_name(table) }};
    do $$ declare index_name text; begin
        for index_name in
            select indexrelid::regclass::text from pg_index where indrelid = '{{ copy_name(table) }}'::regclass
        loop
            execute 'drop index ' || index_name;
        end loop;
    end $$;
    insert into {{ copy_name(table) }} ({{ table.columns | join(', ') }})
    select {{ table.columns | join(', ') }}
    from {{ source('silver', 'silver_' ~ table.name) }}
    where {{ table.instant }} < (select as_of from staging.snapshot_run);
    {{ index_copy(table) }}
    analyze {{ copy_name(table) }};
{%- endmacro %}

{% macro copy_changed() -%}
    {%- set tables = {} -%}
    {%- for table in silver_tables() -%}{%- do tables.update({table.name: table}) -%}{%- endfor -%}
    {{ affect('visitor', "select key from changes where kind in ('session', 'identity')") }}
    {{ affect('customer', "select key from changes where kind = 'customer'") }}
    -- what was not to be seen yet the last time
    {{ affect('visitor', "
        select visitor_id from " ~ source('silver', 'silver_sessions') ~ "
        where ended_at >= (select as_of_before from staging.snapshot_run)
        and started_at >= (select as_of_before from staging.snapshot_run)
    ") }}
    {{ affect('visitor', "
        select anonymous_id from " ~ source('silver', 'silver_identities') ~ "
        where seen_at >= (select as_of_before from staging.snapshot_run)
    ") }}
    {{ affect('customer', "
        select customer_id from " ~ source('silver', 'silver_customers') ~ "
        where first_seen_at >= (select as_of_before from staging.snapshot_run)
    ") }}
    -- without statistics what follows would be planned as if most keys were affected
    analyze staging.affected_keys;
    {{ affect_days_of_bots() }}
    {{ copy_keys(tables['sessions'], 'visitor_id', 'visitor') }}
    {{ copy_keys(tables['identities'], 'anonymous_id', 'visitor') }}
    {{ copy_keys(tables['customers'], 'customer_id', 'customer') }}
    {{ copy_all(tables['products']) }}
    {% for table in silver_tables() if table.is_fact %}
        {{ copy_facts(table) }}
    {% endfor %}
    {{ affect_days_of_bots() }}
    analyze staging.affected_keys, staging.affected_product_days, staging.affected_minutes;
{%- endmacro %}

{% macro affect(kind, keys) -%}
    insert into staging.affected_keys (kind, key)
    select '{{ kind }}', key from ({{ keys }}) as affected (key) where key is not null
    on conflict do nothing;
{%- endmacro %}

{# What people who turn out to be bots, or no bots after all, did with products. #}
{% macro affect_days_of_bots() -%}
    insert into staging.affected_product_days (product_id, day)
    select distinct events.product_id, {{ utc_date('events.occurred_at') }}
    from staging.snapshot_sessions as sessions
    inner join staging.snapshot_product_events as events
        on
            sessions.visitor_id = events.visitor_id
            and events.occurred_at between sessions.started_at and sessions.ended_at
    where
        (sessions.is_bot or sessions.is_runaway)
        and events.product_id is not null
        and sessions.visitor_id in (select key from staging.affected_keys where kind = 'visitor')
    on conflict do nothing;
{%- endmacro %}

{% macro copy_keys(table, column, kind) -%}
    delete from {{ copy_name(table) }}
    where {{ column }} in (select key from staging.affected_keys where kind = '{{ kind }}');
    insert into {{ copy_name(table) }} ({{ table.columns | join(', ') }})
    select {{ table.columns | join(', ') }}
    from {{ source('silver', 'silver_' ~ table.name) }}
    where
        {{ table.instant }} < (select as_of from staging.snapshot_run)
        and {{ column }} in (select key from staging.affected_keys where kind = '{{ kind }}');
{%- endmacro %}

{# Facts never change: those that are not here yet are new, or were not to be seen before. #}
{% macro copy_facts(table) -%}
    with
    added as (
        insert into {{ copy_name(table) }} ({{ table.columns | join(', ') }})
        select {{ table.columns | join(', ') }}
        from {{ source('silver', 'silver_' ~ table.name) }}
        where
            loaded_at >= (select since from new_since)
            and {{ table.instant }} < (select as_of from staging.snapshot_run)
        union all
        select {{ table.columns | join(', ') }}
        from {{ source('silver', 'silver_' ~ table.name) }}
        where event_id in (
            select event_id from staging.later_facts
            where relation = '{{ table.name }}' and happens_at < (select as_of from staging.snapshot_run)
        )
        on conflict do nothing
        returning *
    )
    insert into staging.{{ table.affects }}
    select distinct {{ table.affected }} from added where {{ table.affected_if }} is not null
    on conflict do nothing;
{%- endmacro %}

{#
    What is copied: for each table the columns with their types, the instant that `as_of` is compared with, and what
    is looked up by (of facts, the first is unique): a column, or a name and an expression; of facts also what a new
    one affects, and where that is noted.
#}
{% macro silver_tables() %}
    {{ return([
        {
            'name': 'transactions',
            'is_fact': True,
            'affects': 'affected_keys (kind, key)',
            'affected': "'customer', customer_id",
            'affected_if': 'customer_id',
            'indexes': {
                'event_id': '', 'customer_id': '', 'order_id': '', 'subscription_id': '', 'occurred_at': '',
            },
            'instant': 'occurred_at',
            'columns': {
                'event_id': 'uuid',
                'occurred_at': 'timestamptz',
                'transaction_type': 'text',
                'order_id': 'text',
                'subscription_id': 'text',
                'customer_id': 'text',
                'amount': 'numeric(18, 4)',
                'currency': 'text',
                'amount_base': 'numeric(18, 4)',
                'category': 'text',
                'items': 'jsonb',
                'plan': 'text',
                'monthly_amount': 'numeric(18, 4)',
                'monthly_amount_base': 'numeric(18, 4)',
                'payment_method': 'text',
                'discount': 'numeric(18, 4)',
                'coupon': 'text',
                'rate': 'numeric',
                'country': 'text',
            },
        },
        {
            'name': 'product_events',
            'is_fact': True,
            'affects': 'affected_product_days (product_id, day)',
            'affected': 'product_id, ' ~ utc_date('occurred_at'),
            'affected_if': 'product_id',
            'indexes': {
                'event_id': '',
                'product_day': 'product_id, (' ~ utc_date('occurred_at') ~ ')',
                'visitor_id': '',
                'occurred_at': '',
            },
            'instant': 'occurred_at',
            'columns': {
                'event_id': 'uuid',
                'occurred_at': 'timestamptz',
                'event_type': 'text',
                'visitor_id': 'text',
                'customer_id': 'text',
                'anonymous_id': 'text',
                'product_id': 'text',
                'quantity': 'bigint',
                'rating': 'smallint',
                'is_bot': 'boolean',
            },
        },
        {
            'name': 'customer_events',
            'is_fact': True,
            'affects': 'affected_keys (kind, key)',
            'affected': "'customer', customer_id",
            'affected_if': 'customer_id',
            'indexes': {'event_id': '', 'customer_id': ''},
            'instant': 'occurred_at',
            'columns': {
                'event_id': 'uuid',
                'occurred_at': 'timestamptz',
                'event_type': 'text',
                'changed': 'jsonb',
                'customer_id': 'text',
            },
        },
        {
            'name': 'system_logs',
            'is_fact': True,
            'affects': 'affected_minutes (service, minute)',
            'affected': "service, date_trunc('minute', occurred_at)",
            'affected_if': 'service',
            'indexes': {
                'event_id': '', 'service_minute': 'service, (' ~ utc_minute('occurred_at') ~ ')', 'occurred_at': '',
            },
            'instant': 'occurred_at',
            'columns': {
                'event_id': 'uuid',
                'occurred_at': 'timestamptz',
                'service': 'text',
                'level': 'text',
                'latency_ms': 'double precision',
            },
        },
        {
            'name': 'customers',
            'is_fact': False,
            'indexes': {'customer_id': ''},
            'instant': 'first_seen_at',
            'columns': {
                'customer_id': 'text',
                'country': 'text',
                'created_at': 'timestamptz',
                'marketing_opt_in': 'boolean',
                'first_seen_at': 'timestamptz',
                'last_seen_at': 'timestamptz',
                'is_deleted': 'boolean',
            },
        },
        {
            'name': 'products',
            'is_fact': False,
            'indexes': {'product_id': ''},
            'instant': "'-infinity'::timestamptz",
            'columns': {
                'product_id': 'text',
                'name': 'text',
                'category': 'text',
                'price': 'numeric(18, 4)',
                'currency': 'text',
                'stock': 'bigint',
                'is_listed': 'boolean',
                'listed_at': 'timestamptz',
            },
        },
        {
            'name': 'sessions',
            'is_fact': False,
            'indexes': {'visitor_id': '', 'customer_id': '', 'started_at': ''},
            'instant': 'started_at',
            'columns': {
                'session_id': 'text',
                'visitor_id': 'text',
                'customer_id': 'text',
                'started_at': 'timestamptz',
                'ended_at': 'timestamptz',
                'events': 'bigint',
                'page_views': 'bigint',
                'products_viewed': 'bigint',
                'carts': 'bigint',
                'searches': 'bigint',
                'checkouts': 'bigint',
                'purchases': 'bigint',
                'revenue_base': 'numeric(18, 4)',
                'channel': 'text',
                'campaign': 'text',
                'landing_page': 'text',
                'country': 'text',
                'device': 'text',
                'is_bot': 'boolean',
                'is_runaway': 'boolean',
            },
        },
        {
            'name': 'identities',
            'is_fact': False,
            'indexes': {'anonymous_id': ''},
            'instant': 'seen_at',
            'columns': {
                'anonymous_id': 'text',
                'customer_id': 'text',
                'seen_at': 'timestamptz',
            },
        },
    ]) }}
{% endmacro %}
