-- What was there, and what moved, is what is there; and each period begins where the one before it ended.
with
metrics as (
    select
        *,
        lag(mrr, 1, 0::numeric) over (partition by grain order by period_start) as mrr_before
    from {{ ref('gold_business_metrics') }}
)

select *
from metrics
where
    mrr_start + mrr_new + mrr_reactivation + mrr_expansion - mrr_contraction - mrr_churned <> mrr
    or mrr_start <> mrr_before
