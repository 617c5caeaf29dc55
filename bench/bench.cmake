# cambium-bench: the measurements, beside the program that they measure
file(GLOB BENCHES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
add_executable(cambium-bench ${BENCHES})
target_link_libraries(cambium-bench PRIVATE cambium_core)
target_compile_definitions(cambium-bench PRIVATE BENCH_SOURCE="${CMAKE_SOURCE_DIR}")
