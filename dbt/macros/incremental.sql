{#
    Incremental models make again the rows of what was affected since the run before, and only those.

    A model says by `meta.changed` of which kind the affected things are, and in which of its columns they stand:
    [person, person_id]. It reads from its inputs what it needs for those alone, by `changed(kind, column)`. Each row
    must depend only on rows of the same thing (customers who share orders or subscriptions are one thing), and on
    nothing that moves with time. Then the result is that of a full refresh.

    A model that notes things of a kind (by `affect_...`) must be built before every model that reads that kind begins:
    they would delete rows that they have not made again. `test_gold_order.py` holds that.
#}
{% macro changed(kind, column) -%}
    {%- if not execute -%}
        {#- while dbt reads the project: so that it knows what the model waits for -#}
        {%- if kind in ('customer', 'subscriber') -%}{%- do ref('changed_customers') -%}{%- endif -%}
        {%- do source('changes', 'affected_keys') -%}
    {%- endif -%}
    {{ is_changed(kind, column, this) if goes_on() else 'true' }}
{%- endmacro %}

{# Whether only some rows are made again; in unit tests there is no table yet, and none of them is. #}
{% macro goes_on() -%}
    {%- do return(this is not none and is_incremental()) -%}
{%- endmacro %}

{#
    Whether a row is of what was affected; `relation` is its table. Once it is built, its last month may be one that was
    not there yet: whoever looks then says `after='>='`.
#}
{% macro is_changed(kind, column, relation, after='>') -%}
    {%- if kind == 'customer' -%}
        {{ column }} in (select changed.customer_id from staging.changed_customers as changed)
    {%- elif kind == 'subscriber' -%}
        {{ column }} in (
            select changed.customer_id from staging.changed_customers as changed
            union all
            select lapsed.key from staging.affected_keys as lapsed where lapsed.kind = 'subscriber'
        )
    {%- elif kind == 'month_after' -%}
        {#- the first month in which something has changed, and months that were not there yet -#}
        {{ column }} {{ after }} least(
            (select min(changed.key)::date from staging.affected_keys as changed where changed.kind = 'month'),
            (select coalesce(max(month), '-infinity') from {{ relation }})
        )
    {%- elif kind == 'minute' -%}
        (service, {{ column }}) in (
            select changed.service, changed.minute from staging.affected_minutes as changed
        )
    {%- elif kind == 'product_day' -%}
        (product_id, {{ column }}) in (
            select changed.product_id, changed.day from staging.affected_product_days as changed
        )
    {%- elif kind == 'sold_day' -%}
        (product_id, {{ column }}) in (
            select changed.product_id, changed.day from staging.affected_product_days as changed
            union all
            select sold.product_id, sold.day from staging.affected_sold_days as sold
        )
    {%- elif kind == 'booked_day' -%}
        {{ column }} in (select changed.key::date from staging.affected_keys as changed where changed.kind = 'booked_day')
    {%- elif kind == 'copied' -%}
        {{ column }} >= (select run.pending_since from staging.snapshot_run as run)
    {%- else -%}
        {{ column }} in (select changed.key from staging.affected_keys as changed where changed.kind = '{{ kind }}')
    {%- endif -%}
{%- endmacro %}

{# The strategy: `meta.changed` says what goes, and the new rows of it come. #}
{% macro get_incremental_changed_sql(arg_dict) -%}
    {%- set kind, column = config.get('meta')['changed'] -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {#- for `pipeline gold`, which publishes only what may differ -#}
    insert into staging.made_again (relation, condition)
    values ('{{ this.identifier }}', $condition${{ changed(kind, column) }}$condition$)
    on conflict (relation) do update set condition = excluded.condition;
    delete from {{ arg_dict['target_relation'] }} where {{ changed(kind, column) }};
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }};
{%- endmacro %}

{# A new table has no statistics until autovacuum comes by; the next model's plan needs them now. #}
{% macro analyze_new() -%}
    {%- if not goes_on() -%}analyze {{ this }}{%- endif -%}
{%- endmacro %}

{# Note whose subscriptions have ended since the run before by time alone. #}
{% macro affect_lapsed() -%}
    {%- if goes_on() -%}
        insert into staging.affected_keys (kind, key)
        select distinct 'subscriber', customer_id from {{ this }}
        where active_to is null and ends_at < (select as_of from {{ ref('stg_run') }})
        on conflict do nothing
    {%- endif -%}
{%- endmacro %}

{# The rows that are made again, as they were: for `affect_different`. #}
{% macro keep_rows() -%}
    {%- if goes_on() -%}
        create temporary table rows_before on commit drop as
        select * from {{ this }} where {{ changed(*config.get('meta')['changed']) }}
    {%- endif -%}
{%- endmacro %}

{#
    Note which things of a kind have rows here that are not what they were: most of what is made again comes out the
    same. `key` says which thing a row is of.

    If the table is made whole, what it was is not known: no build may go on from here. A full refresh of all says at
    its end that one may.
#}
{% macro affect_different(kind, key) -%}
    {%- if not goes_on() -%}
        update staging.snapshot_run set project = null
    {%- else -%}
        {%- set rows_now = 'select * from %s where %s' % (this, changed(*config.get('meta')['changed'])) -%}
        {%- set is_sold_day = kind == 'sold_day' -%}
        insert into staging.{{ 'affected_sold_days (product_id, day)' if is_sold_day else 'affected_keys (kind, key)' }}
        select distinct {{ key if is_sold_day else "'%s', %s" % (kind, key) }}
        from (
            ({{ rows_now }} except all select * from rows_before)
            union all
            (select * from rows_before except all {{ rows_now }})
        ) as different
        where ({{ key }}) is not null
        on conflict do nothing
    {%- endif -%}
{%- endmacro %}

{# Note the days of products that are called something else than they are in this table. #}
{% macro affect_days_of_renamed() -%}
    {%- if goes_on() -%}
        insert into staging.affected_sold_days (product_id, day)
        select performance.product_id, performance.day
        from {{ this }} as performance
        inner join {{ ref('dim_products') }} as products on performance.product_id = products.product_id
        where (performance.name, performance.category) is distinct from (products.name, products.category)
        on conflict do nothing
    {%- endif -%}
{%- endmacro %}
