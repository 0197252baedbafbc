with
run as (
    select * from {{ ref('stg_run') }}
),

credited as (
    select
        day,
        model,
        channel,
        campaign,
        sum(revenue) as revenue
    from {{ ref('gold_revenue_attribution') }}
    group by day, model, channel, campaign
),

spent as (
    select
        spend.spend_date as day,
        models.model,
        spend.channel,
        coalesce(spend.campaign, '(none)') as campaign,
        sum(spend.spend) as spend
    from {{ ref('marketing_spend') }} as spend
    cross join run
    cross join (
        values ('first'), ('last'), ('last_non_direct'), ('linear'), ('position'), ('time_decay')
    ) as models (model)
    where {{ utc_instant('spend.spend_date') }} < run.as_of
    group by 1, 2, 3, 4
),

joined as (
    select
        day,
        model,
        channel,
        campaign,
        coalesce(credited.revenue, 0) as revenue,
        coalesce(spent.spend, 0) as spend
    from credited
    full join spent using (day, model, channel, campaign)
),

final as (
    select
        joined.day,
        joined.model,
        joined.channel,
        joined.campaign,
        {{ money('joined.revenue') }} as revenue,
        {{ money('joined.spend') }} as spend,
        {{ ratio('joined.revenue', 'joined.spend') }} as roas,
        run.copied_at as dbt_updated_at
    from joined
    cross join run
)

select * from final
