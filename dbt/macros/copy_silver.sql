{#
    Copy silver into schema staging in one REPEATABLE READ transaction, before any model runs, so that all models
    of a run see the same silver while sinks go on writing. Only rows before `as_of` are copied, and no personal
    columns (email, name). Tables are filled again, not dropped: the staging views stand on them. A column added
    here is added to the table. Unlogged: after a crash of the server the next run fills them anyway.

    dbt executes the whole text as one command, for which the driver has just begun a transaction.
#}
{% macro copy_silver() -%}
    {%- if execute and 'model.event_pipeline.stg_run' in selected_resources -%}
        set transaction isolation level repeatable read;
        create unlogged table if not exists staging.snapshot_run (
            as_of timestamptz, copied_at timestamptz, to_xid xid8
        );
        truncate staging.snapshot_run;
        insert into staging.snapshot_run
        select
            {% if var('as_of') %}'{{ var("as_of") }}'::timestamptz{% else %}now(){% endif %},
            now(),
            pg_snapshot_xmin(pg_current_snapshot());
        {% for table in silver_tables() %}
            {% set copy = 'staging.snapshot_' ~ table.name %}
            create unlogged table if not exists {{ copy }} ();
            {% for column, type in table.columns.items() -%}
                alter table {{ copy }} add column if not exists {{ column }} {{ type }};
            {% endfor -%}
            truncate {{ copy }};
            insert into {{ copy }} ({{ table.columns | join(', ') }})
            select {{ table.columns | join(', ') }}
            from {{ source('silver', 'silver_' ~ table.name) }}
            where {{ table.instant }} < (select as_of from staging.snapshot_run);
            analyze {{ copy }};
        {% endfor %}
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

{# What is copied: for each table the columns with their types, and the instant that `as_of` is compared with. #}
{% macro silver_tables() %}
    {{ return([
        {
            'name': 'transactions',
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
            'instant': 'seen_at',
            'columns': {
                'anonymous_id': 'text',
                'customer_id': 'text',
                'seen_at': 'timestamptz',
            },
        },
    ]) }}
{% endmacro %}
